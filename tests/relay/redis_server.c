/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "redis_server.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hiredis.h>

#define TEMPLATE "/tmp/burble-redis-XXXXXX"

static redisContext *connect_to(const struct redis_server *server)
{
    char path[128];
    snprintf(path, sizeof path, "%s/socket", server->folder);
    redisContext *context = redisConnectUnix(path);
    if (context != NULL && context->err != 0) {
        redisFree(context);
        context = NULL;
    }
    return context;
}

/* Whether it answers. */
static bool answers(const struct redis_server *server)
{
    redisContext *context = connect_to(server);
    if (context == NULL)
        return false;
    redisReply *reply = redisCommand(context, "PING");
    const bool well = reply != NULL && reply->type == REDIS_REPLY_STATUS;
    if (reply != NULL)
        freeReplyObject(reply);
    redisFree(context);
    return well;
}

void redis_start_again(struct redis_server *server)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    server->pid = fork();
    if (server->pid == 0) {
        char path[128];
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive the test */
        snprintf(path, sizeof path, "%s/socket", server->folder);
        char keeping[160];
        snprintf(keeping, sizeof keeping, "%s/keeps", server->folder);
        const char *append = access(keeping, F_OK) == 0 ? "yes" : "no";
        if (freopen("/dev/null", "w", stdout) == NULL)
            _exit(126);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--dir",
               server->folder, "--save", "", "--appendonly", append, "--appendfsync", "no",
               "--maxmemory-policy", "noeviction", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000 && !answers(server); i++) {
        int status;
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            server->pid = 0;
            return;
        }
        nanosleep(&moment, NULL);
    }
}

bool redis_start(struct redis_server *server, bool keeps)
{
    *server = (struct redis_server){.pid = 0};
    strcpy(server->folder, TEMPLATE);
    if (mkdtemp(server->folder) == NULL)
        abort();
    snprintf(server->url, sizeof server->url, "unix://%s/socket", server->folder);
    if (keeps) {
        char path[160];
        snprintf(path, sizeof path, "%s/keeps", server->folder);
        FILE *file = fopen(path, "w");
        if (file != NULL)
            fclose(file);
    }
    redis_start_again(server);
    if (server->pid == 0) {
        printf("skipped: this machine has no redis-server\n");
        redis_stop(server);
        return false;
    }
    return true;
}

void redis_kill(struct redis_server *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

static void copy_folder(const struct redis_server *server, const char *from, const char *to)
{
    char command[512];
    snprintf(command, sizeof command, "cd %s && rm -rf %s && cp -r %s %s", server->folder, to, from,
             to);
    if (system(command) != 0)
        abort();
}

void redis_save(struct redis_server *server)
{
    copy_folder(server, "appendonlydir", "saved");
}

void redis_restore(struct redis_server *server)
{
    copy_folder(server, "saved", "appendonlydir");
}

void redis_freeze(struct redis_server *server)
{
    kill(server->pid, SIGSTOP);
}

void redis_thaw(struct redis_server *server)
{
    kill(server->pid, SIGCONT);
}

void redis_stop(struct redis_server *server)
{
    char command[128];
    if (server->pid != 0)
        redis_kill(server);
    if (strncmp(server->folder, TEMPLATE, strlen(TEMPLATE) - 6) != 0)
        return;
    snprintf(command, sizeof command, "rm -rf %s", server->folder);
    if (system(command) != 0)
        abort();
}

static size_t print(char *out, size_t size, const redisReply *reply)
{
    size_t len = 0;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        return (size_t)snprintf(out, size, "%lld", reply->integer);
    case REDIS_REPLY_NIL:
        return (size_t)snprintf(out, size, "(nil)");
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements && len < size; i++) {
            if (i > 0)
                len += (size_t)snprintf(out + len, size - len, "\n");
            if (len < size)
                len += print(out + len, size - len, reply->element[i]);
        }
        return len;
    default:
        return (size_t)snprintf(out, size, "%.*s", (int)reply->len, reply->str);
    }
}

static const char *answer(redisContext *context, redisReply *reply)
{
    static char text[65536];
    text[0] = '\0';
    if (reply != NULL) {
        print(text, sizeof text, reply);
        freeReplyObject(reply);
    }
    redisFree(context);
    return text;
}

const char *redis_ask(struct redis_server *server, const char *format, ...)
{
    va_list arguments;
    redisContext *context = connect_to(server);
    if (context == NULL)
        return "(no connection)";
    va_start(arguments, format);
    redisReply *reply = redisvCommand(context, format, arguments);
    va_end(arguments);
    return answer(context, reply);
}

const char *redis_call(struct redis_server *server, int n, const char *const *parts,
                       const size_t *lens)
{
    redisContext *context = connect_to(server);
    if (context == NULL)
        return "(no connection)";
    return answer(context, redisCommandArgv(context, n, (const char **)(uintptr_t)parts, lens));
}
