/* SPDX-License-Identifier: MIT */
#include <string.h>

#include <burble/frame.h>

/* ---- writing: what does not fit is counted, but not stored --------------------------------------------- */

struct output {
    char *bytes;
    size_t capacity;
    size_t len;
};

static void put_byte(struct output *out, unsigned byte)
{
    if (out->len < out->capacity)
        out->bytes[out->len] = (char)(unsigned char)byte;
    out->len++;
}

static void put_number(struct output *out, uint64_t number)
{
    while (number > 0x7f) {
        put_byte(out, (unsigned)(number & 0x7f) | 0x80);
        number >>= 7;
    }
    put_byte(out, (unsigned)number);
}

static void put_bytes(struct output *out, burble_text text)
{
    if (text.len > 0 && out->len <= out->capacity && text.len <= out->capacity - out->len)
        memcpy(out->bytes + out->len, text.bytes, text.len);
    out->len += text.len;
}

static void put_string(struct output *out, burble_text text)
{
    put_number(out, text.len);
    put_bytes(out, text);
}

size_t burble_frame_write(const burble_frame *frame, char *bytes, size_t capacity)
{
    struct output out = {bytes, capacity, 0};
    put_byte(&out, (unsigned)frame->kind);
    switch (frame->kind) {
    case BURBLE_FRAME_BEGIN:
        put_number(&out, frame->u.begin.version);
        put_number(&out, frame->u.begin.route);
        put_number(&out, frame->u.begin.flags);
        put_number(&out, frame->u.begin.created);
        put_string(&out, frame->u.begin.id);
        put_string(&out, frame->u.begin.model);
        break;
    case BURBLE_FRAME_USAGE:
        put_number(&out, frame->u.usage.prompt);
        put_number(&out, frame->u.usage.reused);
        put_number(&out, frame->u.usage.completion);
        put_number(&out, frame->u.usage.queue_ns);
        put_number(&out, frame->u.usage.prompt_ns);
        put_number(&out, frame->u.usage.answer_ns);
        break;
    default: /* TEXT and its like, and FINISH */
        put_number(&out, frame->choice);
        if (frame->kind == BURBLE_FRAME_FINISH)
            put_number(&out, frame->u.text.reason);
        put_number(&out, frame->u.text.n_ids);
        put_bytes(&out, frame->u.text.ids);
        if (frame->kind != BURBLE_FRAME_FINISH)
            put_string(&out, frame->u.text.logprobs);
        put_bytes(&out, frame->u.text.text);
        break;
    }
    return out.len;
}

size_t burble_frame_write_ids(const int32_t *ids, size_t n, char *bytes, size_t capacity)
{
    struct output out = {bytes, capacity, 0};
    for (size_t i = 0; i < n; i++)
        put_number(&out, (uint32_t)ids[i]);
    return out.len;
}

size_t burble_logprob_write(const burble_logprob *entry, bool top, char *bytes, size_t capacity)
{
    struct output out = {bytes, capacity, 0};
    uint32_t bits;
    memcpy(&bits, &entry->logprob, sizeof bits);
    put_number(&out, entry->id < 0 ? 0 : (uint64_t)entry->id + 1);
    for (unsigned i = 0; i < 4; i++)
        put_byte(&out, bits >> 8 * i & 0xff);
    put_string(&out, entry->text);
    if (!top)
        put_number(&out, entry->n_top);
    return out.len;
}

/* ---- reading: each function takes what it reads off *rest, or returns false ----------------------------- */

static bool take_number(burble_text *rest, uint64_t most, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; rest->len > 0 && shift < 64; shift += 7) {
        const unsigned byte = (unsigned char)*rest->bytes++;
        const uint64_t bits = byte & 0x7f;
        rest->len--;
        if (shift == 63 && bits > 1)
            return false;
        *number |= bits << shift;
        if (byte < 0x80)
            return *number <= most;
    }
    return false;
}

static bool take_number32(burble_text *rest, uint32_t most, uint32_t *number)
{
    uint64_t wide;
    const bool taken = take_number(rest, most, &wide);
    *number = taken ? (uint32_t)wide : 0;
    return taken;
}

static bool take_bytes(burble_text *rest, uint64_t len, burble_text *bytes)
{
    if (len > rest->len)
        return false;
    *bytes = (burble_text){rest->bytes, (size_t)len};
    rest->bytes += len;
    rest->len -= (size_t)len;
    return true;
}

static bool take_string(burble_text *rest, uint64_t most, burble_text *string)
{
    uint64_t len;
    return take_number(rest, most, &len) && take_bytes(rest, len, string);
}

static bool take_ids(burble_text *rest, burble_frame *frame)
{
    uint32_t id;
    if (!take_number32(rest, UINT32_MAX, &frame->u.text.n_ids) || frame->u.text.n_ids > rest->len)
        return false;
    frame->u.text.ids.bytes = rest->bytes;
    for (uint32_t i = 0; i < frame->u.text.n_ids; i++)
        if (!take_number32(rest, INT32_MAX, &id))
            return false;
    frame->u.text.ids.len = (size_t)(rest->bytes - frame->u.text.ids.bytes);
    return true;
}

static bool take_entry(burble_text *rest, bool top, burble_logprob *entry)
{
    uint64_t id;
    burble_text value;
    if (!take_number(rest, (uint64_t)INT32_MAX + 1, &id) || !take_bytes(rest, 4, &value)
        || !take_string(rest, SIZE_MAX, &entry->text)) {
        return false;
    }
    entry->id = id == 0 ? -1 : (int32_t)(id - 1);
    uint32_t bits = 0;
    for (unsigned i = 0; i < 4; i++)
        bits |= (uint32_t)(unsigned char)value.bytes[i] << 8 * i;
    memcpy(&entry->logprob, &bits, sizeof bits);
    entry->n_top = 0;
    return top || take_number32(rest, UINT32_MAX, &entry->n_top);
}

/* Whether all of it is entries, each with as many alternatives as it says. */
static bool are_logprobs(burble_text rest)
{
    burble_logprob entry;
    while (rest.len > 0) {
        if (!take_entry(&rest, false, &entry))
            return false;
        for (uint32_t n = entry.n_top; n > 0; n--) {
            burble_logprob alternative;
            if (!take_entry(&rest, true, &alternative))
                return false;
        }
    }
    return true;
}

static int read_begin(burble_text rest, burble_frame *frame)
{
    if (!take_number32(&rest, UINT32_MAX, &frame->u.begin.version))
        return BURBLE_EFORMAT;
    if (frame->u.begin.version > BURBLE_FRAME_VERSION)
        return BURBLE_EUNSUPPORTED;
    const bool taken = take_number32(&rest, UINT32_MAX, &frame->u.begin.route)
                       && take_number(&rest, UINT64_MAX, &frame->u.begin.flags)
                       && take_number(&rest, BURBLE_FRAME_MAX_NUMBER, &frame->u.begin.created)
                       && take_string(&rest, BURBLE_FRAME_MAX_NAME, &frame->u.begin.id)
                       && take_string(&rest, BURBLE_FRAME_MAX_NAME, &frame->u.begin.model);
    return taken && frame->u.begin.version > 0 && frame->u.begin.id.len > 0
                   && frame->u.begin.model.len > 0
               ? BURBLE_OK
               : BURBLE_EFORMAT;
}

static int read_usage(burble_text rest, burble_frame *frame)
{
    const uint64_t most = BURBLE_FRAME_MAX_NUMBER;
    const bool taken = take_number(&rest, most, &frame->u.usage.prompt)
                       && take_number(&rest, most, &frame->u.usage.reused)
                       && take_number(&rest, most, &frame->u.usage.completion)
                       && take_number(&rest, UINT64_MAX, &frame->u.usage.queue_ns)
                       && take_number(&rest, UINT64_MAX, &frame->u.usage.prompt_ns)
                       && take_number(&rest, UINT64_MAX, &frame->u.usage.answer_ns);
    return taken ? BURBLE_OK : BURBLE_EFORMAT;
}

static int read_text(burble_text rest, burble_frame *frame)
{
    bool taken = take_number32(&rest, BURBLE_FRAME_MAX_CHOICES - 1, &frame->choice)
                 && take_ids(&rest, frame) && take_string(&rest, SIZE_MAX, &frame->u.text.logprobs)
                 && are_logprobs(frame->u.text.logprobs);
    frame->u.text.text = rest;
    return taken ? BURBLE_OK : BURBLE_EFORMAT;
}

static int read_finish(burble_text rest, burble_frame *frame)
{
    const bool taken = take_number32(&rest, BURBLE_FRAME_MAX_CHOICES - 1, &frame->choice)
                       && take_number32(&rest, UINT32_MAX, &frame->u.text.reason)
                       && frame->u.text.reason > 0 && take_ids(&rest, frame);
    frame->u.text.text = rest;
    return taken ? BURBLE_OK : BURBLE_EFORMAT;
}

int burble_frame_read(const char *bytes, size_t len, burble_frame *frame)
{
    memset(frame, 0, sizeof *frame);
    if (len == 0)
        return BURBLE_EFORMAT;
    const burble_text rest = {bytes + 1, len - 1};
    frame->kind = (burble_frame_kind)(unsigned char)bytes[0];
    switch (frame->kind) {
    case BURBLE_FRAME_BEGIN:
        return read_begin(rest, frame);
    case BURBLE_FRAME_TEXT:
    case BURBLE_FRAME_REASONING:
    case BURBLE_FRAME_TOOL:
        return read_text(rest, frame);
    case BURBLE_FRAME_FINISH:
        return read_finish(rest, frame);
    case BURBLE_FRAME_USAGE:
        return read_usage(rest, frame);
    default:
        return bytes[0] == 0 ? BURBLE_EFORMAT : BURBLE_EUNSUPPORTED;
    }
}

void burble_frame_ids(const burble_frame *frame, int32_t *ids)
{
    burble_text rest = frame->u.text.ids;
    for (uint32_t i = 0; i < frame->u.text.n_ids; i++) {
        uint32_t id;
        take_number32(&rest, INT32_MAX, &id);
        ids[i] = (int32_t)id;
    }
}

bool burble_logprob_read(burble_text *rest, bool top, burble_logprob *entry)
{
    return rest->len > 0 && take_entry(rest, top, entry);
}

/* ---- the hash ------------------------------------------------------------------------------------------- */

static uint32_t add_byte(uint32_t hash, unsigned byte)
{
    return (hash ^ byte) * 16777619u;
}

uint32_t burble_frame_hash(uint32_t before, const char *bytes, size_t len)
{
    uint32_t hash = before;
    /* The length, so that the same bytes in other frames have another hash. */
    for (unsigned i = 0; i < 4; i++)
        hash = add_byte(hash, (unsigned)(len >> 8 * i & 0xff));
    for (size_t i = 0; i < len; i++)
        hash = add_byte(hash, (unsigned char)bytes[i]);
    return hash;
}
