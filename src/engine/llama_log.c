/* SPDX-License-Identifier: MIT */
#include "engine/llama_log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

/* The first error is the most exact one: those after it say what failed because of it. */
static _Thread_local char said[160];

static _Thread_local struct burble__llama_sizes *measured;

/* "...: size = 3.75 MiB (  1024 cells, ...": a cache; "...: CPU compute buffer size = 1.50 MiB". */
static void measure(const char *text)
{
    static const char name[] = "size =";
    const char *at = strstr(text, name);
    if (at == NULL)
        return;
    char *end;
    const double mebibytes = strtod(at + sizeof name - 1, &end);
    if (end == at + sizeof name - 1 || strncmp(end, " MiB", 4) != 0)
        return;
    if (strstr(text, "compute buffer") != NULL || strstr(text, "output buffer") != NULL)
        measured->compute += mebibytes;
    else if (strstr(at, " cells") != NULL)
        measured->cache += mebibytes;
}

static void listen_to(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (measured != NULL)
        measure(text);
    if (level != GGML_LOG_LEVEL_ERROR || said[0] != '\0')
        return;
    snprintf(said, sizeof said, "%s", text);
    said[strcspn(said, "\n")] = '\0';
}

static void begin(void)
{
    llama_log_set(listen_to, NULL);
    llama_backend_init();
    if (ggml_backend_reg_count() == 0)
        ggml_backend_load_all(); /* llama.cpp built with backends as plug-ins */
}

void burble__llama_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
}

void burble__llama_listen(void)
{
    said[0] = '\0';
}

const char *burble__llama_said(void)
{
    return said[0] == '\0' ? "llama.cpp does not say why" : said;
}

void burble__llama_measure(struct burble__llama_sizes *sizes)
{
    measured = sizes;
}
