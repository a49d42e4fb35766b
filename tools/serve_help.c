/* SPDX-License-Identifier: MIT
 *
 * The texts of `burble serve --help` and `burble work --help`.
 */
#include <string.h>

#include "command.h"
#include "serve_options.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* In parts, since compilers may have a bound for strings, and since the verbs share some. */
static const char serve_help[] = //
    "usage: burble serve -m MODEL [OPTION]...\n"
    "       burble serve --redis=URL [OPTION]...\n"
    "       burble serve --config=FILE [OPTION]...\n"
    "\n"
    "Serves language models over HTTP: OpenAI's protocol for clients, a page for a\n"
    "browser. MODEL is a GGUF file; llama.cpp computes. With --redis, workers on any\n"
    "machine compute (burble work), and answers outlive the death of any process.\n"
    "\n"
    "  -m, --model=FILE         a model; clients call it by the file's name without\n"
    "                           .gguf; may be given more than once\n"
    "  -m, --model=NAME=FILE    the same, called NAME\n"
    "  --host=ADDRESS           listen there; default: 127.0.0.1, this machine alone;\n"
    "                           0.0.0.0 or :: is all networks\n"
    "  --port=N                 default: 8080; 0: any free one\n"
    "  --allowed-hosts=HOST     answer only requests for this host: a name or an\n"
    "                           address without a port, or *; may be given more than\n"
    "                           once; default: on 127.0.0.1 and without keys,\n"
    "                           localhost, 127.0.0.1, [::1] and ADDRESS; else *\n"
    "  --api-key-file=FILE      ask clients for one of the keys in FILE, one a line\n"
    "  --cors=ORIGIN            let pages of this origin use the server, such as\n"
    "                           https://example.com, or *; may be given more than\n"
    "                           once\n"
    "  --no-page                no page at /\n"
    "  --queue=N                most requests of a model that wait for a slot; then\n"
    "                           clients get status 429; default: 1024\n"
    "  --config=FILE            read options from FILE, one a line, without the --;\n"
    "                           those of the command line count more\n"
    "\n";

static const char work_help[] = //
    "usage: burble work --redis=URL -m MODEL [OPTION]...\n"
    "       burble work --config=FILE [OPTION]...\n"
    "\n"
    "Computes answers for `burble serve --redis` with the same URL, on any machine.\n"
    "MODEL is a GGUF file; llama.cpp computes. If the worker dies, another one with\n"
    "the same file goes on with its answers.\n"
    "\n"
    "  -m, --model=FILE         a model; clients call it by the file's name without\n"
    "                           .gguf; may be given more than once\n"
    "  -m, --model=NAME=FILE    the same, called NAME\n"
    "  --config=FILE            read options from FILE, one a line, without the --;\n"
    "                           those of the command line count more\n"
    "\n";

static const char engine_help[] = //
    "The engine of each model:\n"
    "  --slots=N                answers computed at once, up to 256; default: 8\n"
    "  --context=N              most tokens of prompt and answer together; default:\n"
    "                           the context of the model's training, at most 4096\n"
    "  --threads=N              computing threads; default: one for each processor\n"
    "                           that the process may use\n"
    "  --prompt-threads=N       the same for steps that compute prompts, too;\n"
    "                           default: as many as --threads\n"
    "  --batch=N                most prompt tokens of one step; default: 512\n"
    "  --prompt-ms=N            beside answers, prompts make a step longer by N\n"
    "                           milliseconds, or twice as long; default: 12\n"
    "  --flash=WHEN             attention in one pass: auto (the default), on, off\n"
    "  --cache-k=TYPE           the type that attention's keys are kept in: f16 (the\n"
    "                           default), f32, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0\n"
    "  --cache-v=TYPE           the same for its values\n"
    "  --unified                one memory for all slots instead of one for each\n"
    "  --gpu-layers=N           layers for the GPU to compute, if llama.cpp was built\n"
    "                           for one; default: all\n"
    "  --overcommit             load also what does not fit into the memory\n"
    "\n";

static const char redis_help[] = //
    "Redis (times as below):\n"
    "  --redis=URL              redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or\n"
    "                           unix:///PATH; with a password, give it in FILE of\n"
    "                           --config: all users of a machine see command lines\n"
    "  --redis-prefix=TEXT      of all keys and channels; default: burble\n"
    "  --name=TEXT              of this process in `burble relay status`; default:\n"
    "                           the name of the host and the process id\n"
    "  --lease=TIME             a worker that Redis has not heard of for so long has\n"
    "                           its answers given to others; default: 2s\n"
    "  --away=TIME              how long answers wait for a Redis that is away,\n"
    "                           before they fail; default: 60s\n"
    "  --attempts=N             workers that may try an answer; default: 5\n"
    "  --idle-attempts=N        of these, in a row without new text; default: 2\n"
    "\n";

static const char work_bounds_help[] = //
    "Bounds (sizes in bytes, or with K, M or G) and times (in seconds, or with ms, s,\n"
    "m or h):\n"
    "  --max-pending=SIZE       text of an answer that Redis has not confirmed, before\n"
    "                           it waits; default: 1M\n"
    "  --retain=SIZE            finished answers, for a Redis that has lost them;\n"
    "                           default: 64M\n"
    "  --stall=TIME             an engine without progress for so long gives its\n"
    "                           answers up; default: 60s\n"
    "  --resume-time=TIME       how long an answer is kept after its end; default: 10m\n"
    "  --grace=TIME             how long answers that cannot go on elsewhere may take\n"
    "                           after SIGTERM; default: 30s\n"
    "\n";

static const char serve_bounds_help[] = //
    "Bounds (sizes in bytes, or with K, M or G):\n"
    "  --max-connections=N      default: 16384, or what the limit of descriptors\n"
    "                           allows\n"
    "  --max-connections-key=N  of one API key; 0, the default: no bound\n"
    "  --max-header=SIZE        a request's line and headers; default: 16K\n"
    "  --max-body=SIZE          a request's body; default: 8M\n"
    "  --max-bodies=SIZE        all bodies at one time; default: 256M\n"
    "  --max-json-depth=N       of a body; default: 64\n"
    "  --max-output=SIZE        text that waits for a client; default: 16K\n"
    "  --socket-buffer=SIZE     the same in the kernel; 0: as it likes; default: 16K\n"
    "  --max-ignored=SIZE       what a client may send during an answer; default: 64K\n"
    "  --max-answer=SIZE        an answer's text; default: 1M\n"
    "  --max-lag=SIZE           how far a client may be behind; default: 6K\n"
    "  --retain=SIZE            finished answers that can be resumed; default: 64M\n"
    "  --loops=N                threads for the network; default: 1\n"
    "  --backlog=N              connections that the kernel accepts beforehand;\n"
    "                           default: 1024\n"
    "  --backend-threads=N      threads that read requests and give them to models;\n"
    "                           one model takes at most half; default: 4\n"
    "\n"
    "Times (in seconds, or with ms, s, m or h):\n"
    "  --header-timeout=TIME    for a request's headers; default: 10s\n"
    "  --body-timeout=TIME      for its body, beside the time at --body-rate;\n"
    "                           default: 10s\n"
    "  --body-rate=SIZE         a second; default: 16K\n"
    "  --idle-timeout=TIME      between requests; default: 75s\n"
    "  --stall-timeout=TIME     of a client that takes nothing; default: 30s\n"
    "  --output-rate=SIZE       that a client has to take in a second, from\n"
    "                           --stall-timeout on; default: 1K\n"
    "  --first-timeout=TIME     how long a stream's headers wait for its first text,\n"
    "                           so that errors have a status; default: 10s\n"
    "  --ping-interval=TIME     between keep-alive comments; default: 15s\n"
    "  --resume-time=TIME       how long an answer can be resumed; default: 10m\n"
    "  --drain-delay=TIME       how long connections are taken after SIGTERM;\n"
    "                           default: 5s; on a terminal: 0\n"
    "  --grace=TIME             how long answers may take after SIGTERM; default: 30s\n"
    "\n";

static const char log_help[] = //
    "  --log-format=FORMAT      text (the default) or json, on standard error\n"
    "  --log-prompts            log prompts and messages, too\n"
    "  -q, --quiet              log only warnings and errors\n"
    "  -h, --help               this text\n"
    "  -V, --version            the versions of burble and llama.cpp\n"
    "\n";

static const char serve_end_help[] = //
    "SIGTERM and Ctrl-C let the answers end, within --grace; a second one ends them.\n"
    "SIGHUP reads the API keys again. systemd is told what happens (sd_notify), and\n"
    "may pass the socket.\n"
    "\n"
    "Exit status: 0 after SIGTERM or Ctrl-C; 1 after an error of a model or the\n"
    "system; 2 if the command line or FILE of --config is wrong; 130 or 143 if Ctrl-C\n"
    "or SIGTERM came before the server was ready, or a second one ended answers.\n"
    "\n"
    "  burble serve -m model.gguf\n"
    "  burble serve --redis redis://10.0.0.1 --host 0.0.0.0\n"
    "  burble serve -m small=a.gguf -m large=b.gguf --host :: --api-key-file keys\n";

static const char work_end_help[] = //
    "SIGTERM and Ctrl-C hand the answers on to other workers; those that cannot go on\n"
    "elsewhere may end here within --grace. A second signal ends the worker at once:\n"
    "then others go on once its lease is over. systemd is told what happens\n"
    "(sd_notify).\n"
    "\n"
    "Exit status: 0 after SIGTERM or Ctrl-C; 1 after an error of a model, Redis or the\n"
    "system; 2 if the command line or FILE of --config is wrong; 130 or 143 if Ctrl-C\n"
    "or SIGTERM came before the worker was ready, or a second time.\n"
    "\n"
    "  burble work --redis redis://10.0.0.1 -m model.gguf\n"
    "  burble work --redis unix:///run/redis/redis.sock -m small=a.gguf --slots 16\n";

int print_serve_help(enum serve_verb verb)
{
    static const char *const serve[] = {serve_help,        engine_help, redis_help,
                                        serve_bounds_help, log_help,    serve_end_help};
    static const char *const work[] = {work_help,        engine_help, redis_help,
                                       work_bounds_help, log_help,    work_end_help};
    const char *const *const parts = verb == SERVE_VERB_WORK ? work : serve;
    enum { PARTS = COUNT(serve) };
    for (size_t i = 0; i + 1 < PARTS; i++)
        if (!write_out(parts[i], strlen(parts[i])))
            return EXIT_ERROR;
    return print_only(parts[PARTS - 1]);
}
