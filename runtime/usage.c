/*
 * What a handler does with the event that it is given. Folding gives a handler a fresh event each
 * time, because it may keep it. Most do not: they read fields of it and of its data. Where that can
 * be proved, one event table serves a whole fold, and the fields that nobody reads are not decoded.
 *
 * The proof goes over the handler's bytecode, as lua_dump() writes it: it follows the registers
 * that may hold the event or its data through every path. Whatever is done to them but reading a
 * field by its name (passing on, assigning, capturing, indexing by a value, ...) ends the proof,
 * and so does anything that is not known here. The format of bytecode is the same in all of Lua 5.4
 * (lopcodes.h, ldump.c); a dump with another header proves nothing.
 */
#include "internal.h"

#include <stdlib.h>

enum { REGISTERS = 256, MOST_CODE = 4096, MOST_UPVALUES = 256, EVENT_REGISTER = 1 };

/* ---- reading a dump ---- */

typedef struct dump {
  const unsigned char *p, *end;
  bool failed;
} dump;

static const unsigned char *take(dump *d, size_t size) {
  if ((size_t)(d->end - d->p) < size) {
    d->failed = true;
    return NULL;
  }
  const unsigned char *p = d->p;
  d->p += size;
  return p;
}

static unsigned take_byte(dump *d) {
  const unsigned char *p = take(d, 1);
  return p ? *p : 0;
}

/* Seven bits a byte, the highest first; the last byte is marked. */
static size_t take_size(dump *d) {
  size_t value = 0;
  for (int i = 0; i < 10; i++) {
    unsigned byte = take_byte(d);
    value = value << 7 | (byte & 0x7f);
    if (byte & 0x80) return value;
  }
  d->failed = true;
  return 0;
}

static mf_bytes take_text(dump *d) {
  size_t size = take_size(d);
  if (size == 0) return (mf_bytes){NULL, 0};
  return (mf_bytes){take(d, size - 1), size - 1};
}

/* Whether the dump is of this Lua 5.4 with its usual types. */
static bool check_header(dump *d) {
  static const unsigned char start[] = "\x1bLua\x54\x00\x19\x93\r\n\x1a\n\x04\x08\x08";
  const lua_Integer integer = 0x5678;
  const lua_Number number = 370.5;
  const unsigned char *p = take(d, sizeof start - 1);
  const unsigned char *i = take(d, sizeof integer), *n = take(d, sizeof number);
  return !d->failed && memcmp(p, start, sizeof start - 1) == 0 &&
         memcmp(i, &integer, sizeof integer) == 0 && memcmp(n, &number, sizeof number) == 0;
}

typedef struct function {
  unsigned parameters, vararg;
  size_t code_size, constant_count;
  const unsigned char *code;
  mf_bytes *constants;      /* those that are no strings: without data */
  bool captured[REGISTERS]; /* by a function inside */
} function;

static void take_constants(dump *d, function *f) {
  enum { NUMBER_INTEGER = 3, NUMBER_FLOAT = 19, STRING_SHORT = 4, STRING_LONG = 20 };
  size_t count = take_size(d);
  if (count > (size_t)(d->end - d->p)) {
    d->failed = true;
    return;
  }
  f->constants = calloc(count + 1, sizeof *f->constants);
  if (!f->constants) d->failed = true;
  f->constant_count = count;
  for (size_t i = 0; i < count && !d->failed; i++) {
    unsigned type = take_byte(d);
    if (type == NUMBER_INTEGER || type == NUMBER_FLOAT)
      take(d, 8);
    else if (type == STRING_SHORT || type == STRING_LONG)
      f->constants[i] = take_text(d);
  }
}

/* Reads a function; of one inside another only what it captures is wanted, in `captured`. */
static void take_function(dump *d, function *f, bool *captured, int depth) {
  if (depth > 100) d->failed = true;
  if (d->failed) return;
  take_text(d); /* the source */
  take_size(d); /* first and last line */
  take_size(d);
  f->parameters = take_byte(d);
  f->vararg = take_byte(d);
  take_byte(d); /* the size of the stack */
  f->code_size = take_size(d);
  if (f->code_size > (size_t)(d->end - d->p) / 4) d->failed = true;
  f->code = d->failed ? NULL : take(d, f->code_size * 4);
  take_constants(d, f);
  size_t count = d->failed ? 0 : take_size(d);
  for (size_t i = 0; i < count && !d->failed; i++) {
    const unsigned char *upvalue = take(d, 3); /* in the stack?, which, kind */
    if (upvalue && captured && upvalue[0]) captured[upvalue[1]] = true;
  }
  count = d->failed ? 0 : take_size(d);
  for (size_t i = 0; i < count && !d->failed; i++) {
    function inner = {0};
    take_function(d, &inner, f->captured, depth + 1);
    free(inner.constants);
  }
  for (int i = 0; i < 4 && !d->failed; i++) /* a stripped dump has no lines, locals and names */
    if (take_size(d) != 0) d->failed = true;
}

/* ---- instructions ---- */

/* What an instruction does to registers. Those that are not told by flags are in step(). */
enum {
  READS_A = 1,
  READS_B = 2,
  READS_C = 4,
  READS_C_UNLESS_K = 8,
  WRITES_A = 16,
  TESTS = 32, /* the next instruction may be skipped */
  KNOWN = 64, /* and nothing else */
  SPECIAL = 128
};

enum {
  OP_MOVE = 0,
  OP_LFALSESKIP = 6,
  OP_LOADNIL = 8,
  OP_GETFIELD = 14,
  OP_SELF = 20,
  OP_NOT = 51,
  OP_CONCAT = 53,
  OP_TBC = 55,
  OP_JMP = 56,
  OP_EQK = 60,
  OP_TEST = 66,
  OP_TESTSET = 67,
  OP_CALL = 68,
  OP_TAILCALL = 69,
  OP_RETURN = 70,
  OP_RETURN0 = 71,
  OP_RETURN1 = 72,
  OP_FORLOOP = 73,
  OP_FORPREP = 74,
  OP_TFORPREP = 75,
  OP_TFORCALL = 76,
  OP_TFORLOOP = 77,
  OP_SETLIST = 78,
  OP_VARARG = 80,
  OP_LAST = 82
};

#define LOAD (KNOWN | WRITES_A)
#define UNARY (KNOWN | WRITES_A | READS_B)
#define BINARY (KNOWN | WRITES_A | READS_B | READS_C)
#define TEST_A (KNOWN | READS_A | TESTS)

static const unsigned char effects[OP_LAST + 1] = {
    SPECIAL, /* MOVE */
    LOAD,
    LOAD,
    LOAD,
    LOAD,
    LOAD,
    SPECIAL,
    LOAD,            /* LOADI F K KX FALSE, LFALSESKIP, LOADTRUE */
    SPECIAL,         /* LOADNIL */
    LOAD,            /* GETUPVAL */
    KNOWN | READS_A, /* SETUPVAL */
    LOAD,            /* GETTABUP */
    BINARY,
    UNARY,
    SPECIAL,                                      /* GETTABLE GETI GETFIELD */
    KNOWN | READS_C_UNLESS_K,                     /* SETTABUP */
    KNOWN | READS_A | READS_B | READS_C_UNLESS_K, /* SETTABLE */
    KNOWN | READS_A | READS_C_UNLESS_K,           /* SETI */
    KNOWN | READS_A | READS_C_UNLESS_K,           /* SETFIELD */
    LOAD,                                         /* NEWTABLE */
    SPECIAL,                                      /* SELF */
    UNARY,
    UNARY,
    UNARY,
    UNARY,
    UNARY,
    UNARY,
    UNARY, /* ADDI, ADDK to DIVK */
    UNARY,
    UNARY,
    UNARY,
    UNARY,
    UNARY,
    UNARY, /* IDIVK BANDK BORK BXORK SHRI SHLI */
    BINARY,
    BINARY,
    BINARY,
    BINARY,
    BINARY,
    BINARY, /* ADD SUB MUL MOD POW DIV */
    BINARY,
    BINARY,
    BINARY,
    BINARY,
    BINARY,
    BINARY,                    /* IDIV BAND BOR BXOR SHL SHR */
    KNOWN | READS_A | READS_B, /* MMBIN */
    KNOWN | READS_A,
    KNOWN | READS_A, /* MMBINI MMBINK */
    UNARY,
    UNARY,
    SPECIAL,
    UNARY,   /* UNM BNOT NOT LEN */
    SPECIAL, /* CONCAT */
    KNOWN,
    KNOWN | READS_A, /* CLOSE TBC */
    SPECIAL,         /* JMP */
    TEST_A | READS_B,
    TEST_A | READS_B,
    TEST_A | READS_B, /* EQ LT LE */
    SPECIAL,          /* EQK */
    TEST_A,
    TEST_A,
    TEST_A,
    TEST_A,
    TEST_A, /* EQI LTI LEI GTI GEI */
    SPECIAL,
    SPECIAL, /* TEST TESTSET */
    SPECIAL,
    SPECIAL,
    SPECIAL,
    SPECIAL,
    SPECIAL, /* CALL TAILCALL RETURN RETURN0 RETURN1 */
    SPECIAL,
    SPECIAL,
    SPECIAL,
    SPECIAL,
    SPECIAL, /* FORLOOP FORPREP TFORPREP -CALL -LOOP */
    SPECIAL, /* SETLIST */
    LOAD,    /* CLOSURE: what it captures is known */
    SPECIAL, /* VARARG */
    KNOWN,
    KNOWN /* VARARGPREP EXTRAARG */
};

/* ---- following registers ---- */

enum { HOLDS_EVENT = 1, HOLDS_DATA = 2 };

typedef unsigned char registers[REGISTERS]; /* what each may hold */

typedef struct analysis {
  const function *f;
  registers *at; /* before each instruction */
  bool *reached, *waiting;
  bool event_kept, data_kept;
  unsigned fields; /* bits of mfr_field */
  mf_bytes names[MFR_USED_MAX];
  int name_count;
} analysis;

static void use(analysis *a, unsigned what) {
  if (what & HOLDS_EVENT) a->event_kept = true;
  if (what & HOLDS_DATA) a->data_kept = true;
}

static void use_range(analysis *a, const registers r, unsigned first, unsigned end) {
  for (unsigned i = first; i < end && i < REGISTERS; i++)
    use(a, r[i]);
}

static void clear(registers r, unsigned first, unsigned end) {
  for (unsigned i = first; i < end && i < REGISTERS; i++)
    r[i] = 0;
}

static void hold(analysis *a, registers r, unsigned which, unsigned what) {
  r[which] = (unsigned char)what;
  if (a->f->captured[which]) use(a, what);
}

static bool same_text(mf_bytes a, const char *b) {
  return a.size == strlen(b) && memcmp(a.data, b, a.size) == 0;
}

/* A field of the event is read; returns what the result holds. */
static unsigned use_event_field(analysis *a, mf_bytes name) {
  for (int i = 0; i < MFR_FIELDS; i++)
    if (same_text(name, mfr_field_name((mfr_field)i))) {
      a->fields |= 1u << i;
      return i == MFR_DATA ? HOLDS_DATA : 0;
    }
  return 0; /* an event has no such field */
}

static void use_data_field(analysis *a, mf_bytes name) {
  for (int i = 0; i < a->name_count; i++)
    if (a->names[i].size == name.size && memcmp(a->names[i].data, name.data, name.size) == 0)
      return;
  if (a->name_count == MFR_USED_MAX)
    a->data_kept = true;
  else
    a->names[a->name_count++] = name;
}

static void get_field(analysis *a, registers r, unsigned to, unsigned from, unsigned constant) {
  unsigned what = r[from], result = 0;
  if (what) {
    if (constant >= a->f->constant_count || !a->f->constants[constant].data)
      use(a, what);
    else {
      if (what & HOLDS_EVENT) result = use_event_field(a, a->f->constants[constant]);
      if (what & HOLDS_DATA) use_data_field(a, a->f->constants[constant]);
    }
  }
  hold(a, r, to, result);
}

/* Joins what the registers hold with what is known before instruction `to`. */
static void flow(analysis *a, const registers r, size_t to) {
  if (to >= a->f->code_size) {
    a->event_kept = true; /* no such code is compiled */
    return;
  }
  bool news = !a->reached[to];
  for (int i = 0; i < REGISTERS; i++) {
    if (r[i] & ~a->at[to][i]) news = true;
    a->at[to][i] |= r[i];
  }
  a->reached[to] = true;
  if (news) a->waiting[to] = true;
}

static void step(analysis *a, size_t pc) {
  const unsigned char *code = a->f->code + 4 * pc;
  uint32_t i;
  memcpy(&i, code, sizeof i);
  unsigned op = i & 0x7f, A = i >> 7 & 0xff, k = i >> 15 & 1, B = i >> 16 & 0xff, C = i >> 24;
  size_t Bx = i >> 15;
  registers r;
  memcpy(r, a->at[pc], sizeof r);
  unsigned effect = op <= OP_LAST ? effects[op] : 0;
  bool falls = true;
  if (effect & KNOWN) {
    if (effect & READS_A) use(a, r[A]);
    if (effect & READS_B) use(a, r[B]);
    if (effect & READS_C) use(a, r[C]);
    if ((effect & READS_C_UNLESS_K) && !k) use(a, r[C]);
    if (effect & WRITES_A) r[A] = 0;
    if (effect & TESTS) flow(a, r, pc + 2);
    flow(a, r, pc + 1);
    return;
  }
  switch (op) {
  case OP_MOVE:
    hold(a, r, A, r[B]);
    break;
  case OP_LFALSESKIP:
    r[A] = 0;
    flow(a, r, pc + 2);
    falls = false;
    break;
  case OP_LOADNIL:
    clear(r, A, A + B + 1);
    break;
  case OP_GETFIELD:
    get_field(a, r, A, B, C);
    break;
  case OP_SELF:
    use(a, r[B]);
    clear(r, A, A + 2);
    break;
  case OP_NOT: /* asks only whether there is something */
    r[A] = 0;
    break;
  case OP_CONCAT:
    use_range(a, r, A, A + B);
    r[A] = 0;
    break;
  case OP_JMP: {
    size_t offset = i >> 7; /* 25 bits, in excess of 2^24 - 1 */
    flow(a, r, pc + 1 + offset - 0xffffff);
    falls = false;
    break;
  }
  case OP_EQK: /* with a constant, which no table equals */
  case OP_TEST:
    flow(a, r, pc + 2);
    break;
  case OP_TESTSET: {
    flow(a, r, pc + 2);
    hold(a, r, A, r[B]);
    break;
  }
  case OP_CALL:
    use_range(a, r, A, B ? A + B : REGISTERS);
    clear(r, A, REGISTERS);
    break;
  case OP_TAILCALL: /* a return follows, for functions of C */
    use_range(a, r, A, B ? A + B : REGISTERS);
    clear(r, A, REGISTERS);
    break;
  case OP_RETURN:
    use_range(a, r, A, B ? A + B - 1 : REGISTERS);
    falls = false;
    break;
  case OP_RETURN0:
    falls = false;
    break;
  case OP_RETURN1:
    use(a, r[A]);
    falls = false;
    break;
  case OP_FORLOOP:
    clear(r, A, A + 4);
    flow(a, r, pc + 1 - Bx);
    break;
  case OP_FORPREP:
    use_range(a, r, A, A + 3);
    clear(r, A, A + 4);
    flow(a, r, pc + 2 + Bx);
    break;
  case OP_TFORPREP:
    use_range(a, r, A, A + 4);
    flow(a, r, pc + 1 + Bx);
    falls = false;
    break;
  case OP_TFORCALL:
    use_range(a, r, A, A + 3);
    clear(r, A + 4, REGISTERS);
    break;
  case OP_TFORLOOP: {
    r[A + 2 < REGISTERS ? A + 2 : A] = 0;
    flow(a, r, pc + 1 - Bx);
    break;
  }
  case OP_SETLIST:
    use_range(a, r, A, B ? A + B + 1 : REGISTERS);
    break;
  case OP_VARARG:
    clear(r, A, REGISTERS);
    break;
  default:
    a->event_kept = true; /* unknown */
    falls = false;
  }
  if (falls) flow(a, r, pc + 1);
}

static void follow(analysis *a) {
  registers start = {0};
  hold(a, start, EVENT_REGISTER, HOLDS_EVENT);
  flow(a, start, 0);
  for (bool again = true; again && !a->event_kept;) {
    again = false;
    for (size_t pc = 0; pc < a->f->code_size && !a->event_kept; pc++) {
      if (!a->waiting[pc]) continue;
      a->waiting[pc] = false;
      again = true;
      step(a, pc);
    }
  }
}

/* False when it cannot be told, or the event is kept. */
static bool analyse(const function *f, analysis *a) {
  *a = (analysis){.f = f};
  if (f->vararg || f->code_size == 0 || f->code_size > MOST_CODE) return false;
  if (f->parameters <= EVENT_REGISTER) return true; /* it never sees the event */
  a->at = calloc(f->code_size, sizeof *a->at + 2);
  if (!a->at) return false;
  a->reached = (bool *)(a->at + f->code_size);
  a->waiting = a->reached + f->code_size;
  follow(a);
  free(a->at);
  a->at = NULL;
  return !a->event_kept;
}

/* The most instructions that a call of the function takes: those of its code, when nothing in it
 * goes back or calls; 0: it cannot be told. (What a metamethod does is not counted.) */
static int bound_of(const function *f) {
  if (f->vararg || f->code_size > MOST_CODE) return 0;
  for (size_t pc = 0; pc < f->code_size; pc++) {
    uint32_t i;
    memcpy(&i, f->code + 4 * pc, sizeof i);
    unsigned op = i & 0x7f;
    bool back = op == OP_JMP && i >> 7 < 0xffffff;
    bool calls = op == OP_CALL || op == OP_TAILCALL || op == OP_TBC;
    if (op > OP_LAST || back || calls || (op >= OP_FORLOOP && op <= OP_TFORLOOP)) return 0;
  }
  return (int)f->code_size;
}

/* ---- the result, as a userdata ---- */

static int write_dump(lua_State *L, const void *data, size_t size, void *context) {
  mfr_buffer *buffer = context;
  (void)L;
  if (!mfr_buffer_reserve(buffer, size)) return 1;
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
  return 0;
}

/* Copies what was found into a userdata, with the names of data's fields as its user value. */
static void push_result(lua_State *L, const analysis *a, bool found, int instructions) {
  if (!found) {
    lua_pushboolean(L, 0);
    return;
  }
  size_t bytes = 0;
  for (int i = 0; i < a->name_count; i++)
    bytes += a->names[i].size;
  mfr_usage *usage = lua_newuserdatauv(L, sizeof *usage + bytes, MFR_USAGE_VALUES);
  memset(usage, 0, sizeof *usage);
  usage->fields = a->fields;
  usage->data_kept = a->data_kept;
  usage->instructions = instructions;
  usage->count = a->name_count;
  char *to = (char *)(usage + 1);
  lua_createtable(L, a->name_count, 0);
  for (int i = 0; i < a->name_count; i++) {
    usage->names[i] = (mfr_text){to, a->names[i].size};
    if (a->names[i].size) memcpy(to, a->names[i].data, a->names[i].size);
    lua_pushlstring(L, to, a->names[i].size);
    lua_rawseti(L, -2, i + 1);
    to += a->names[i].size;
  }
  lua_setiuservalue(L, -2, MFR_USAGE_NAMES);
}

/* Arguments: buffer with the dump. Pushes the result. */
static void find_usage(lua_State *L, const mfr_buffer *buffer) {
  dump d = {(const unsigned char *)buffer->data, NULL, false};
  d.end = d.p + buffer->size;
  function f = {0};
  analysis a = {0};
  bool found = buffer->size > 0 && check_header(&d);
  if (found) {
    take_byte(&d); /* the number of upvalues */
    take_function(&d, &f, NULL, 0);
    found = !d.failed && d.p == d.end && analyse(&f, &a);
  }
  free(f.constants); /* the texts themselves stand in the buffer */
  push_result(L, &a, found, found ? bound_of(&f) : 0);
}

const mfr_usage *mfr_usage_of(lua_State *L, mfr_state *state, int index) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, "usage");
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->usage_ref);
  int cache = lua_gettop(L);
  lua_pushvalue(L, index);
  if (lua_rawget(L, cache) == LUA_TNIL) {
    lua_pop(L, 1);
    mfr_buffer *buffer = mfr_borrow(L, state);
    lua_pushvalue(L, index);
    if (lua_iscfunction(L, -1) || lua_dump(L, write_dump, buffer, 1) != 0) buffer->size = 0;
    lua_pop(L, 1);
    find_usage(L, buffer);
    mfr_give_back(state, buffer);
    lua_remove(L, -2);
    lua_pushvalue(L, index);
    lua_pushvalue(L, -2);
    lua_rawset(L, cache);
  }
  lua_remove(L, cache);
  return lua_touserdata(L, -1);
}

void mfr_usage_open(lua_State *L, mfr_state *state) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  state->usage_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
