/* SPDX-License-Identifier: MIT
 *
 * A SentencePiece model: a ModelProto of Protocol Buffers, of which a few fields matter.
 *
 * Sources: src/sentencepiece_model.proto of https://github.com/google/sentencepiece for the fields;
 * https://protobuf.dev/programming-guides/encoding/ for the encoding; SentencePieceProcessor::Decode
 * in src/sentencepiece_processor.cc, version 0.2.3, for how pieces become text:
 *
 *   - control pieces are empty, whether or not special tokens (which they are here) are skipped
 *   - the unknown piece is unk_surface, whatever its text
 *   - bytes are characters; each one that is not part of a valid character is U+FFFD
 *   - U+2581 is a space
 *   - with add_dummy_prefix or remove_extra_whitespaces, while the text is empty, U+2581 at the
 *     beginning of a piece is nothing: with remove_extra_whitespaces in each such piece, else in the
 *     first one
 *
 * The last two are one step that strips U+2581 and one that replaces it. So that only the beginning
 * of a piece is stripped, and only once, all other U+2581 are spelled as spaces at once.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "text/load.h"

#define SPACE_SYMBOL "\xE2\x96\x81" /* U+2581 */
#define SPACE_SYMBOL_LEN 3

#define DEFAULT_UNK_SURFACE " \xE2\x81\x87 " /* U+2047 */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* The numbers of the fields that matter. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_KIND = 3 };
enum { TRAINER_BYTE_FALLBACK = 35, TRAINER_UNK_SURFACE = 44 };
enum { NORMALIZER_CHARSMAP = 2, NORMALIZER_DUMMY_PREFIX = 3, NORMALIZER_EXTRA_SPACES = 4 };

/* ModelProto.SentencePiece.Type */
enum kind {
    KIND_NORMAL = 1,
    KIND_UNKNOWN = 2,
    KIND_CONTROL = 3,
    KIND_USER_DEFINED = 4,
    KIND_UNUSED = 5,
    KIND_BYTE = 6
};

/* A message, or what is left of it. */
struct message {
    const struct burble__source *source;
    size_t at;
    size_t end;
};

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;         /* of a varint */
    struct message content; /* of bytes */
};

struct model {
    const struct burble__source *source;
    struct burble__table table;
    char *texts; /* the pieces as they are spelled here */
    size_t used;
    struct message unk_surface; /* its source is NULL where there is none */
    int64_t unknown;            /* its id; -1: none so far */
    size_t first_byte;          /* the id of the first byte piece; SIZE_MAX: none */
    size_t false_byte;          /* the same for a normal piece that is spelled like one */
    bool byte_fallback;
    bool dummy_prefix;
    bool extra_spaces; /* remove_extra_whitespaces */
};

/* ---- the encoding -------------------------------------------------------------------------------- */

static int read_varint(struct message *message, uint64_t *out)
{
    const size_t start = message->at;
    *out = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        const unsigned char byte = (unsigned char)message->source->bytes[message->at++];
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return BURBLE_OK;
    }
    return burble__load_fail(
        message->source, BURBLE_EFORMAT, "byte %zu: expected a varint, found %s", start,
        message->at == message->end ? "the end of the message" : "one of more than 10 bytes");
}

static int take(struct message *message, uint64_t n, struct message *out)
{
    if (n > message->end - message->at) {
        return burble__load_fail(message->source, BURBLE_EFORMAT,
                                 "byte %zu: expected %" PRIu64
                                 " bytes of a field, found %zu before the end of the message",
                                 message->at, n, message->end - message->at);
    }
    *out = (struct message){message->source, message->at, message->at + (size_t)n};
    message->at = out->end;
    return BURBLE_OK;
}

/* The next field. BURBLE_OK, BURBLE_END or BURBLE_EFORMAT. */
static int next_field(struct message *message, struct field *field)
{
    if (message->at == message->end)
        return BURBLE_END;
    const size_t start = message->at;
    uint64_t tag;
    int result = read_varint(message, &tag);
    if (result != BURBLE_OK)
        return result;
    *field = (struct field){.number = tag >> 3, .wire = (enum wire)(tag & 7)};
    if (field->number != 0) {
        switch (field->wire) {
        case WIRE_VARINT:
            return read_varint(message, &field->value);
        case WIRE_64:
            return take(message, 8, &field->content);
        case WIRE_32:
            return take(message, 4, &field->content);
        case WIRE_BYTES:
            result = read_varint(message, &field->value);
            return result == BURBLE_OK ? take(message, field->value, &field->content) : result;
        }
    }
    return burble__load_fail(message->source, BURBLE_EFORMAT,
                             "byte %zu: expected a field's number and wire type, found %" PRIu64
                             " and %d",
                             start, field->number, (int)(tag & 7));
}

/* Whether it is this field; *result is BURBLE_EFORMAT where it has another wire type than it
 * should. */
static bool is_field(const struct message *message, const struct field *field, uint64_t number,
                     enum wire wire, int *result)
{
    if (field->number != number)
        return false;
    if (field->wire != wire) {
        *result =
            burble__load_fail(message->source, BURBLE_EFORMAT,
                              "byte %zu: expected wire type %d in field %" PRIu64 ", found %d",
                              message->at, (int)wire, number, (int)field->wire);
    }
    return field->wire == wire;
}

/* ---- pieces -------------------------------------------------------------------------------------- */

static const char *bytes_of(const struct message *message)
{
    return message->source->bytes + message->at;
}

static size_t len_of(const struct message *message)
{
    return message->end - message->at;
}

/* Spells a piece: the U+2581 at its beginning stays, the others become spaces. */
static burble_token spell(struct model *model, const char *bytes, size_t len)
{
    char *text = model->texts + model->used;
    size_t n = 0;
    for (size_t at = 0; at < len;) {
        if (at > 0 && len - at >= SPACE_SYMBOL_LEN
            && memcmp(bytes + at, SPACE_SYMBOL, SPACE_SYMBOL_LEN) == 0) {
            text[n++] = ' ';
            at += SPACE_SYMBOL_LEN;
        } else {
            text[n++] = bytes[at++];
        }
    }
    model->used += n;
    return (burble_token){text, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n, 0};
}

static bool is_digit(char c, bool lower)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (lower && c >= 'a' && c <= 'f');
}

/* Whether it is spelled <0x00> to <0xFF>, perhaps with lower-case digits (or the sign that Rust takes
 * for one), too, which the step takes for a byte, but SentencePiece does not. */
static bool is_byte(const char *bytes, size_t len, bool lower)
{
    return len == 6 && memcmp(bytes, "<0x", 3) == 0 && bytes[5] == '>'
           && (is_digit(bytes[3], lower) || (lower && bytes[3] == '+'))
           && is_digit(bytes[4], lower);
}

static int put_piece(struct model *model, size_t id, size_t start, const struct message *text,
                     uint64_t kind)
{
    const struct burble__source *source = model->source;
    const char *bytes = bytes_of(text);
    const size_t len = len_of(text);
    if (kind < KIND_NORMAL || kind > KIND_BYTE) {
        return burble__load_fail(
            source, BURBLE_EFORMAT,
            "byte %zu: expected a type from 1 to 6 in piece %zu, found %" PRIu64, start, id, kind);
    }
    if (kind == KIND_UNKNOWN && model->unknown >= 0) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "byte %zu: expected one unknown piece, found %" PRId64 " and %zu",
                                 start, model->unknown, id);
    }
    if (kind == KIND_BYTE && !is_byte(bytes, len, false)) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "byte %zu: expected <0x00> to <0xFF>, as piece %zu is a byte, "
                                 "found %s",
                                 start, id, burble__quote(bytes, len).text);
    }
    burble_token token = spell(model, bytes, len);
    if (kind == KIND_UNKNOWN) {
        model->unknown = (int64_t)id;
    } else if (kind == KIND_CONTROL) {
        /* Text, though empty, which breaks a run of bytes. So there is nothing to leave out. */
        token = (burble_token){.text = ""};
    } else if (kind == KIND_BYTE) {
        model->first_byte = model->first_byte < id ? model->first_byte : id;
    } else if (is_byte(bytes, len, true)) {
        model->false_byte = model->false_byte < id ? model->false_byte : id;
    }
    return burble__table_put(&model->table, source, (int64_t)id, token,
                             (struct burble__place){"byte", start});
}

static int read_piece(struct model *model, struct message piece)
{
    const size_t id = model->table.n;
    const size_t start = piece.at;
    struct message text = {model->source, start, start};
    uint64_t kind = KIND_NORMAL;
    struct field field;
    int result;
    while ((result = next_field(&piece, &field)) == BURBLE_OK) {
        if (is_field(&piece, &field, PIECE_TEXT, WIRE_BYTES, &result))
            text = field.content;
        else if (is_field(&piece, &field, PIECE_KIND, WIRE_VARINT, &result))
            kind = field.value;
        if (result != BURBLE_OK)
            return result;
    }
    return result == BURBLE_END ? put_piece(model, id, start, &text, kind) : result;
}

/* ---- specifications ------------------------------------------------------------------------------ */

static int read_trainer(struct model *model, struct message trainer)
{
    struct field field;
    int result;
    while ((result = next_field(&trainer, &field)) == BURBLE_OK) {
        if (is_field(&trainer, &field, TRAINER_BYTE_FALLBACK, WIRE_VARINT, &result))
            model->byte_fallback = field.value != 0;
        else if (is_field(&trainer, &field, TRAINER_UNK_SURFACE, WIRE_BYTES, &result))
            model->unk_surface = field.content;
        if (result != BURBLE_OK)
            return result;
    }
    return result == BURBLE_END ? BURBLE_OK : result;
}

static int read_normalizer(struct model *model, struct message normalizer)
{
    struct field field;
    int result;
    while ((result = next_field(&normalizer, &field)) == BURBLE_OK) {
        if (is_field(&normalizer, &field, NORMALIZER_DUMMY_PREFIX, WIRE_VARINT, &result))
            model->dummy_prefix = field.value != 0;
        else if (is_field(&normalizer, &field, NORMALIZER_EXTRA_SPACES, WIRE_VARINT, &result))
            model->extra_spaces = field.value != 0;
        if (result != BURBLE_OK)
            return result;
    }
    return result == BURBLE_END ? BURBLE_OK : result;
}

/* A denormalizer changes the finished text, by rules that are not known here. */
static int read_denormalizer(const struct model *model, struct message denormalizer)
{
    struct field field;
    int result;
    while ((result = next_field(&denormalizer, &field)) == BURBLE_OK) {
        if (is_field(&denormalizer, &field, NORMALIZER_CHARSMAP, WIRE_BYTES, &result)
            && len_of(&field.content) > 0) {
            return burble__load_fail(model->source, BURBLE_EUNSUPPORTED,
                                     "byte %zu: a model with a denormalizer", field.content.at);
        }
        if (result != BURBLE_OK)
            return result;
    }
    return result == BURBLE_END ? BURBLE_OK : result;
}

static int read_model(struct model *model)
{
    struct message all = {model->source, 0, model->source->size};
    struct field field;
    int result;
    while ((result = next_field(&all, &field)) == BURBLE_OK) {
        if (is_field(&all, &field, MODEL_PIECES, WIRE_BYTES, &result))
            result = read_piece(model, field.content);
        else if (is_field(&all, &field, MODEL_TRAINER, WIRE_BYTES, &result))
            result = read_trainer(model, field.content);
        else if (is_field(&all, &field, MODEL_NORMALIZER, WIRE_BYTES, &result))
            result = read_normalizer(model, field.content);
        else if (is_field(&all, &field, MODEL_DENORMALIZER, WIRE_BYTES, &result))
            result = read_denormalizer(model, field.content);
        if (result != BURBLE_OK)
            return result;
    }
    return result == BURBLE_END ? BURBLE_OK : result;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

/* The checks that need the whole model. */
static int check(const struct model *model)
{
    const struct burble__source *source = model->source;
    const bool bytes = model->first_byte != SIZE_MAX;
    if (model->unknown < 0) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "expected pieces, one of them unknown, found %zu, none unknown",
                                 model->table.n);
    }
    if (bytes && !model->byte_fallback) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "piece %zu: expected no bytes, as byte_fallback is off, found one",
                                 model->first_byte);
    }
    if (bytes && model->false_byte != SIZE_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "piece %zu: a piece that is spelled like a byte, but is none",
                                 model->false_byte);
    }
    return BURBLE_OK;
}

static int set_unknown(struct model *model)
{
    static const char by_default[] = DEFAULT_UNK_SURFACE;
    burble_token token = {by_default, sizeof by_default - 1, 0};
    if (model->unk_surface.source != NULL) {
        const size_t len = len_of(&model->unk_surface);
        const char *bytes = bytes_of(&model->unk_surface);
        const char *nul = memchr(bytes, '\0', len); /* where SentencePiece, too, ends it */
        const size_t n = nul == NULL ? len : (size_t)(nul - bytes);
        token = (burble_token){bytes, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n, 0};
    }
    return burble__table_replace(&model->table, model->source, model->unknown, token,
                                 (struct burble__place){"unk_surface", BURBLE__NO_NUMBER});
}

static int compile(const struct model *model, burble_vocab **out)
{
    burble_step steps[4];
    size_t n = 0;
    if (model->first_byte != SIZE_MAX)
        steps[n++] = (burble_step){.kind = BURBLE_STEP_BYTE_FALLBACK};
    steps[n++] = (burble_step){.kind = BURBLE_STEP_FUSE};
    if (model->dummy_prefix || model->extra_spaces) {
        steps[n++] = (burble_step){
            .kind = BURBLE_STEP_STRIP,
            .text = SPACE_SYMBOL,
            .start = model->extra_spaces ? UINT32_MAX : 1,
        };
    }
    steps[n++] = (burble_step){.kind = BURBLE_STEP_REPLACE, .text = SPACE_SYMBOL, .with = " "};
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    options.steps = steps;
    options.n_steps = n;
    return burble__table_compile(&model->table, model->source, &options, out);
}

int burble__load_sentencepiece(const struct burble__source *source, burble_vocab **out)
{
    struct model model = {
        .source = source,
        .unknown = -1,
        .first_byte = SIZE_MAX,
        .false_byte = SIZE_MAX,
        .dummy_prefix = true,
        .extra_spaces = true,
    };
    burble__table_init(&model.table, source);
    model.texts = burble__malloc(source->size + 1);
    if (model.texts == NULL)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    int result = read_model(&model);
    if (result == BURBLE_OK)
        result = check(&model);
    if (result == BURBLE_OK)
        result = set_unknown(&model);
    if (result == BURBLE_OK)
        result = compile(&model, out);
    burble__free(model.texts);
    burble__table_finish(&model.table);
    return result;
}
