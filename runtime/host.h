/*
 * What the binary gives the scripts of the command line beyond the public Lua API. main.c makes the
 * table `host` of what concerns the process; these files of the runtime add what needs the store
 * itself:
 *
 *   host.c      the table, and small things
 *   iso_time.c  times as text
 *   lines.c     events as lines
 *   import.c    lines as events
 *   facts.c     what a store holds
 *   workers.c   processes that share a piece of work
 */
#ifndef MF_RUNTIME_HOST_H
#define MF_RUNTIME_HOST_H

#include "internal.h"

/* Adds functions to the table `host`, which is on top of the stack. [-0, +0] */
void mfr_host_open(lua_State *L);
/* Runs `body` on the call's arguments, of which the first is a store: for functions of the table.
 */
int mfr_host_call(lua_State *L, lua_CFunction body, int arguments, int results);

/* ---- host.c ---- */

/* Makes room in a buffer, or raises no_memory. */
void mfr_need_room(lua_State *L, const mfr_state *state, mfr_buffer *out, size_t size);
void mfr_write_hex(char *out, const uint8_t *bytes, size_t size); /* with a NUL */
/* False when the text is not exactly so many bytes as hexadecimal digits. */
bool mfr_read_hex(const char *text, uint8_t *bytes, size_t size);

/* ---- workers.c ---- */

/* Sets functions in the table below the module's state, which is on top. [-1, +0] */
void mfr_workers_open(lua_State *L);

/* ---- iso_time.c ---- */

enum { MFR_TIME_TEXT = 48 };

/* "2026-11-25T18:28:40.123456Z". False outside the years 0 to 9999, which have no such text. */
bool mfr_write_time(int64_t time, char text[MFR_TIME_TEXT]);
/* "2026-11-25", "2026-11-25T18:28", "2026-11-25 18:28:40.5+01:00"; UTC where no zone is named. */
bool mfr_read_time(const char *text, int64_t *time);

/* ---- functions of the table, described where they stand ---- */

int mfr_host_printable(lua_State *L);
int mfr_host_show_foreign(lua_State *L);
int mfr_host_lines(lua_State *L);
int mfr_host_code_line(lua_State *L);
int mfr_host_command_lines(lua_State *L);
int mfr_host_import(lua_State *L);
int mfr_host_stats(lua_State *L);
int mfr_host_census(lua_State *L);
int mfr_host_busy(lua_State *L);
int mfr_host_span(lua_State *L);
int mfr_host_time(lua_State *L);
int mfr_host_parse_time(lua_State *L);

#endif
