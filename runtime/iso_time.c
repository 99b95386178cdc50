/* Times as text: microseconds since the epoch <-> ISO 8601. */
#include "host.h"

#include <stdio.h>

enum { SECOND = 1000000, DAY = 86400 };

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; years begin in March for
 * this. */
static int64_t days_of(int64_t year, int month, int day) {
  if (month <= 2) {
    year--;
    month += 12;
  }
  int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * (month - 3) + 2) / 5 +
         day - 719469;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
  int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int of_year = (int)(of_era - (365 * years + years / 4 - years / 100));
  int from_march = (5 * of_year + 2) / 153;
  *day = of_year - (153 * from_march + 2) / 5 + 1;
  *month = from_march < 10 ? from_march + 3 : from_march - 9;
  *year = years + era * 400 + (*month <= 2);
}

bool mfr_write_time(int64_t time, char text[MFR_TIME_TEXT]) {
  int64_t seconds = time / SECOND, micros = time % SECOND, year;
  int month, day;
  if (micros < 0) {
    micros += SECOND;
    seconds--;
  }
  int64_t days = seconds / DAY, of_day = seconds % DAY;
  if (of_day < 0) {
    of_day += DAY;
    days--;
  }
  date_of(days, &year, &month, &day);
  snprintf(text, MFR_TIME_TEXT, "%04lld-%02d-%02dT%02d:%02d:%02d.%06dZ", (long long)year, month,
           day, (int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60), (int)micros);
  return year >= 0 && year <= 9999;
}

/* Takes `count` digits. */
static bool take_digits(const char **p, int count, int most, int *value) {
  *value = 0;
  for (int i = 0; i < count; i++, (*p)++) {
    if (**p < '0' || **p > '9') return false;
    *value = *value * 10 + (**p - '0');
  }
  return *value <= most;
}

static bool take_char(const char **p, const char *any) {
  if (!**p || !strchr(any, **p)) return false;
  (*p)++;
  return true;
}

static bool take_date(const char **p, int64_t *days) {
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int year, month, day;
  if (!take_digits(p, 4, 9999, &year) || !take_char(p, "-") || !take_digits(p, 2, 12, &month) ||
      !take_char(p, "-") || !take_digits(p, 2, 31, &day) || month < 1 || day < 1)
    return false;
  bool leap = month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
  if (day > lengths[month - 1] + leap) return false;
  *days = days_of(year, month, day);
  return true;
}

/* Digits behind the point beyond microseconds are cut off. */
static bool take_fraction(const char **p, int *micros) {
  int scale = SECOND / 10;
  *micros = 0;
  if (!take_char(p, ".")) return true;
  if (**p < '0' || **p > '9') return false;
  for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10)
    *micros += scale * (**p - '0');
  return true;
}

static bool take_zone(const char **p, int *offset) {
  int hours, minutes;
  *offset = 0;
  if (!**p || take_char(p, "Zz")) return true;
  int sign = **p == '-' ? -1 : 1;
  if (!take_char(p, "+-") || !take_digits(p, 2, 23, &hours)) return false;
  take_char(p, ":");
  if (!take_digits(p, 2, 59, &minutes)) return false;
  *offset = sign * (hours * 3600 + minutes * 60);
  return true;
}

bool mfr_read_time(const char *text, int64_t *time) {
  const char *p = text;
  int64_t days;
  int hour = 0, minute = 0, second = 0, micros = 0, offset = 0;
  if (!take_date(&p, &days)) return false;
  if (*p) {
    if (!take_char(&p, "Tt ") || !take_digits(&p, 2, 23, &hour) || !take_char(&p, ":") ||
        !take_digits(&p, 2, 59, &minute))
      return false;
    if (take_char(&p, ":") && (!take_digits(&p, 2, 59, &second) || !take_fraction(&p, &micros)))
      return false;
    if (!take_zone(&p, &offset)) return false;
  }
  *time = (days * DAY + hour * 3600 + minute * 60 + second - offset) * SECOND + micros;
  return *p == '\0';
}

/* host.time(microseconds) -> text */
int mfr_host_time(lua_State *L) {
  char text[MFR_TIME_TEXT];
  mfr_write_time(luaL_checkinteger(L, 1), text);
  lua_pushstring(L, text);
  return 1;
}

/* host.parse_time(text) -> microseconds, or nil when it is no time */
int mfr_host_parse_time(lua_State *L) {
  size_t size;
  int64_t time;
  const char *text = luaL_checklstring(L, 1, &size);
  if (strlen(text) != size || !mfr_read_time(text, &time)) return 0;
  lua_pushinteger(L, time);
  return 1;
}
