/* SPDX-License-Identifier: MIT */
#include "text/load_pattern.h"

#include <string.h>

#include "base/alloc.h"

/* The only string that the expression matches, written to `out`, which has room for the expression and a
 * NUL; its length, or 0 where there is no such string. */
static size_t literal_of(struct burble__json_text regex, char *out)
{
    static const char operators[] = "\\^$.|?*+()[]{}";
    size_t len = 0;
    for (size_t i = 0; i < regex.len; i++) {
        const bool escaped = regex.bytes[i] == '\\' && i + 1 < regex.len;
        i += escaped;
        if ((memchr(operators, regex.bytes[i], sizeof operators - 1) != NULL) != escaped)
            return 0;
        out[len++] = regex.bytes[i];
    }
    out[len] = '\0';
    return len;
}

int burble__pattern_read(struct burble__pattern *pattern, const struct burble__source *source,
                         struct burble__json object, const char *path)
{
    struct burble__json member, string;
    *pattern = (struct burble__pattern){.owned = NULL};
    int result = burble__json_member(source, object, path, "pattern", BURBLE__JSON_OBJECT, &member);
    if (result != BURBLE_OK)
        return result;
    const bool is_regex = burble__json_get(member, "Regex").at != NULL;
    result = burble__json_member(source, member, burble__path_member(path, "pattern").text,
                                 is_regex ? "Regex" : "String", BURBLE__JSON_STRING, &string);
    if (result != BURBLE_OK || !is_regex) {
        pattern->text = burble__json_text(string);
        return result;
    }
    pattern->regex = burble__json_text(string);
    pattern->owned = burble__malloc(pattern->regex.len + 1);
    if (pattern->owned == NULL)
        return burble__load_fail(source, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    pattern->text.len = literal_of(pattern->regex, pattern->owned);
    pattern->text.bytes = pattern->text.len == 0 ? NULL : pattern->owned;
    return BURBLE_OK;
}
