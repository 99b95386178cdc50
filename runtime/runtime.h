/*
 * Moonfold's runtime: Lua on top of the store.
 *
 * For now it offers one function: the opener of the Lua module. A C host that embeds Lua registers
 * it,
 *
 *     luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
 *     lua_pop(L, 1);
 *
 * and its scripts then find `require "moonfold"` and everything that comes with it
 * ("moonfold.spec", "moonfold.domain.cart", ...). The module keeps no state outside the lua_State:
 * any number of states may have it, each used by one thread at a time. It raises errors as Lua
 * does, by longjmp: call it in a protected call.
 *
 * A state that is inside a write transaction (in the function given to store:transaction) must not
 * be abandoned: the transaction belongs to the thread, and other writers of the file wait for it.
 */
#ifndef MOONFOLD_RUNTIME_H
#define MOONFOLD_RUNTIME_H

#include "store.h"

#include <lua.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pushes the module's table. Effect on the stack: [-0, +1]. */
MF_API int luaopen_moonfold(lua_State *L);

/* ---- values without text ---- */

/*
 * Values cross as JSON text, which is easy to write and to read. Where a host handles a command in
 * every frame, it can spare the text: the functions here read and make values in the encoding that
 * the store keeps (MessagePack, integers and floats apart, map keys sorted), without an allocation
 * for reading. `make bench` measures both ways.
 *
 * READING. An mf_value is borrowed: it points into bytes that somebody else owns (mf_event.data,
 * the result of a call, a builder) and is valid for as long as they are. Pass it by value; there is
 * nothing to free. A value that is not there (a missing field, an element past the end, a field of
 * what is no map) is absent, and every question about it has an answer; so a chain of questions
 * needs one check at its end, or none:
 *
 *     mf_value hero = mf_value_field(state, "hero");
 *     int64_t health = mf_value_integer(mf_value_field(hero, "health"), 0);
 */
typedef struct mf_value {
  const uint8_t *at; /* NULL: absent */
  const uint8_t *end;
} mf_value;

typedef enum mf_kind {
  MF_ABSENT,
  MF_NULL,
  MF_BOOLEAN,
  MF_INTEGER,
  MF_FLOAT,
  MF_STRING,
  MF_LIST,
  MF_MAP
} mf_kind;

/*
 * The value that these bytes encode; absent when they encode none, or more than one. It looks at
 * every byte, once: afterwards no question can run out of them. Values that were not made by
 * Moonfold may be refused: the encoding is canonical, and nested at most 128 deep.
 */
MF_API mf_value mf_value_of(mf_bytes encoded);

/* The bytes of a value, to be kept, compared (equal values have equal bytes) or appended as an
 * event's data. */
MF_API mf_bytes mf_value_bytes(mf_value value);

MF_API mf_kind mf_value_kind(mf_value value);

/* What the value is, or `otherwise` when it is of another kind. A float that is a whole number is
 * no integer, but an integer is taken for a number. */
MF_API bool mf_value_boolean(mf_value value, bool otherwise);
MF_API int64_t mf_value_integer(mf_value value, int64_t otherwise);
MF_API double mf_value_number(mf_value value, double otherwise);

/* The text, not NUL-terminated; data is NULL when the value is no string. */
MF_API mf_bytes mf_value_string(mf_value value);

/* Whether the value is this string. */
MF_API bool mf_value_is(mf_value value, const char *text);

/* How many elements or fields; 0 for what is no list and no map. */
MF_API size_t mf_value_count(mf_value value);

/* A field of a map by name, or by integer key. It walks the map: keep what you need twice. */
MF_API mf_value mf_value_field(mf_value map, const char *name);
MF_API mf_value mf_value_slot(mf_value map, int64_t key);

/*
 * Walks a list or a map, in order:
 *
 *     for (mf_each each = mf_value_each(monsters); mf_each_next(&each);)
 *       draw(mf_value_field(each.value, "x"), mf_value_field(each.value, "y"));
 *
 * In a map each.key is the field's name (or integer key); in a list it is absent and each.index
 * counts from 0.
 */
typedef struct mf_each {
  mf_value key, value;
  size_t index;
  /* private */
  const uint8_t *next, *end;
  size_t left;
  bool map;
} mf_each;

MF_API mf_each mf_value_each(mf_value value);
MF_API bool mf_each_next(mf_each *each);

/*
 * MAKING. A builder takes a value piece by piece, as JSON would be written, and owns its memory,
 * which is used again after mf_build_reset():
 *
 *     mf_builder *b = mf_builder_new();
 *     mf_build_map(b);
 *     mf_build_key(b, "direction");  mf_build_text(b, "north");
 *     mf_build_end(b);
 *     mf_value data = mf_builder_value(b);
 *     ...
 *     mf_builder_free(b);
 *
 * Mistakes (a value where a key is due, an end too many, NaN, two equal keys, more than 128 levels)
 * and lack of memory are remembered, so that only the end needs a check: mf_builder_value() is
 * absent then, and mf_builder_problem() says why. Keys may come in any order. A builder belongs to
 * one thread at a time.
 */
typedef struct mf_builder mf_builder;

MF_API mf_builder *mf_builder_new(void);          /* NULL: no memory */
MF_API void mf_builder_free(mf_builder *builder); /* NULL is allowed */
MF_API void mf_build_reset(mf_builder *builder);  /* begins anew, and keeps the memory */
MF_API void mf_build_null(mf_builder *builder);
MF_API void mf_build_boolean(mf_builder *builder, bool value);
MF_API void mf_build_integer(mf_builder *builder, int64_t value);
MF_API void mf_build_number(mf_builder *builder,
                            double value); /* stays a float, also when it is whole */
MF_API void mf_build_string(mf_builder *builder, mf_bytes value);
MF_API void mf_build_text(mf_builder *builder, const char *value);
MF_API void mf_build_value(mf_builder *builder, mf_value value); /* a copy of one that was read */
MF_API void mf_build_list(mf_builder *builder);
MF_API void mf_build_map(mf_builder *builder);
MF_API void mf_build_key(mf_builder *builder, const char *name);
MF_API void mf_build_slot(mf_builder *builder, int64_t key); /* an integer key */
MF_API void mf_build_end(mf_builder *builder);               /* of the innermost list or map */

/* The finished value: valid until the builder is used again. Absent when it is not finished, or
 * went wrong. */
MF_API mf_value mf_builder_value(const mf_builder *builder);
MF_API const char *
mf_builder_problem(const mf_builder *builder); /* static text; NULL: none so far */

#ifdef __cplusplus
}
#endif
#endif
