/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "run_options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <burble/stop.h>

#include "command.h"
#include "llama_words.h"
#include "utf8.h"

/* Two, as compilers need not take longer ones. */
static const char *const help[] = {
    "usage: burble run -m MODEL [-p PROMPT] [OPTION]...\n"
    "\n"
    "Continues a text with a language model and writes what it generates to standard\n"
    "output, as it comes. MODEL is a GGUF file; llama.cpp computes.\n"
    "\n"
    "  -m, --model=MODEL    the model\n"
    "  -p, --prompt=PROMPT  the text to continue; if it is missing or -, standard\n"
    "                       input, without a newline at its end (from a terminal:\n"
    "                       until Ctrl-D)\n"
    "  -n, --max-tokens=N   generate at most N tokens (otherwise: until the model\n"
    "                       ends its text, or its context is full)\n"
    "  -s, --stop=STRING    end before the first STRING in the text; may be given\n"
    "                       more than once\n"
    "\n"
    "The most likely token is always chosen (--greedy), unless one of these is given:\n"
    "  --temperature=T      more random above 1 (up to 100), less below; 0 is greedy;\n"
    "                       default: 1\n"
    "  --top-k=N            only the N most likely tokens; 0: all\n"
    "  --top-p=P            only the most likely tokens with a total probability of\n"
    "                       P; 1: all\n"
    "  --min-p=P            only tokens at least P times as likely as the most likely\n"
    "  --seed=N             seed of the random numbers; 4294967295: another one each\n"
    "                       time; default: 0\n"
    "\n"
    "  --typical-p=P        only tokens of about the expected surprise; 1: all\n"
    "  --mirostat=N         Mirostat 1 or 2 instead of all these but --temperature\n"
    "  --mirostat-tau=X     its surprise, in bits; default: 5\n"
    "  --mirostat-eta=X     its learning rate; default: 0.1\n"
    "\n"
    "  --repeat-penalty=X   divide the logits of the last tokens by X; default: 1\n"
    "  --presence-penalty=X subtract X from them; default: 0\n"
    "  --frequency-penalty=X\n"
    "                       subtract X from them for each time; default: 0\n"
    "  --repeat-last-n=N    how many tokens these are; default: 64\n"
    "  --dry-multiplier=X   DRY: penalty for repeated sequences; default: 0\n"
    "  --dry-base=X         its growth with their length; default: 1.75\n"
    "  --dry-allowed-length=N\n"
    "                       the shortest of them; default: 2\n"
    "  --dry-last-n=N       among how many tokens; default: the whole context\n"
    "  --grammar-file=FILE  only text of the grammar in FILE (GBNF, as llama.cpp's)\n"
    "  --json-object        only one JSON object\n"
    "\n",
    "  --chat               PROMPT is a message: apply the model's chat template\n"
    "  --system=TEXT        the system message before it; implies --chat\n"
    "  --template=NAME      use a template of llama.cpp, such as chatml, instead of\n"
    "                       the model's; implies --chat\n"
    "\n"
    "  --prompts=FILE       one prompt per line (-: standard input); each text is\n"
    "                       printed when it is complete, in order, below a heading\n"
    "  --parallel=N         compute N of them at once, up to 256; default: 8\n"
    "\n"
    "  --json               a line of JSON for each piece of text, as it comes, and\n"
    "                       one for the end of each prompt, with reason and counts\n"
    "  --logprobs=N         in these lines, the log-probability of each token, and N\n"
    "                       (0 to 20) of the most likely tokens with theirs\n"
    "  --stats              print counts and speed on standard error\n"
    "  -q, --quiet          only errors and --stats on standard error\n"
    "  --context=N          most tokens of prompt and text together; default: the\n"
    "                       context of the model's training, at most 4096\n"
    "  --threads=N          number of computing threads; default: one for each\n"
    "                       processor that the process may use\n"
    "  --prompt-threads=N   the same for steps that compute prompts, too; default: as\n"
    "                       many as --threads\n"
    "  --batch=N            most prompt tokens of one step; default: 512\n"
    "  --flash=WHEN         attention in one pass: auto (the default), on, off\n"
    "  --cache-k=TYPE       the type that attention's keys are kept in: f16 (the\n"
    "                       default), f32, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0\n"
    "  --cache-v=TYPE       the same for its values\n"
    "  --unified            one memory for all prompts instead of one for each\n"
    "  -h, --help           this text\n"
    "  -V, --version        the versions of burble and llama.cpp\n"
    "\n"
    "Ctrl-C ends the text and prints the counts; a second Ctrl-C kills the process.\n"
    "Colours are used only on terminals; NO_COLOR turns them off.\n"
    "\n"
    "Exit status: 0 on success; 1 after an error of a prompt, the model or the\n"
    "system; 2 if the command line is wrong; 130 after Ctrl-C; 143 after SIGTERM.\n"
    "\n"
    "  burble run -m model.gguf -p 'Once upon a time' --max-tokens 100\n"
    "  burble run -m model.gguf --chat --stats <question.txt\n"
    "  burble run -m model.gguf --prompts questions.txt --parallel 16 --json\n",
};

/* Options without a letter. */
enum {
    TEMPERATURE = 256,
    TOP_K,
    TOP_P,
    MIN_P,
    TYPICAL_P,
    MIROSTAT,
    MIROSTAT_TAU,
    MIROSTAT_ETA,
    SEED,
    GREEDY,
    REPEAT_LAST_N,
    DRY_MULTIPLIER,
    DRY_BASE,
    DRY_ALLOWED_LENGTH,
    DRY_LAST_N,
    REPEAT_PENALTY,
    PRESENCE_PENALTY,
    FREQUENCY_PENALTY,
    GRAMMAR_FILE,
    JSON_OBJECT,
    CHAT,
    SYSTEM,
    TEMPLATE,
    PROMPTS,
    PARALLEL,
    JSON,
    LOGPROBS,
    STATS,
    CONTEXT,
    THREADS,
    PROMPT_THREADS,
    BATCH,
    FLASH,
    CACHE_K,
    CACHE_V,
    UNIFIED,
};

static const struct option names[] = {
    {"model", required_argument, NULL, 'm'},
    {"prompt", required_argument, NULL, 'p'},
    {"max-tokens", required_argument, NULL, 'n'},
    {"stop", required_argument, NULL, 's'},
    {"temperature", required_argument, NULL, TEMPERATURE},
    {"top-k", required_argument, NULL, TOP_K},
    {"top-p", required_argument, NULL, TOP_P},
    {"min-p", required_argument, NULL, MIN_P},
    {"typical-p", required_argument, NULL, TYPICAL_P},
    {"mirostat", required_argument, NULL, MIROSTAT},
    {"mirostat-tau", required_argument, NULL, MIROSTAT_TAU},
    {"mirostat-eta", required_argument, NULL, MIROSTAT_ETA},
    {"seed", required_argument, NULL, SEED},
    {"greedy", no_argument, NULL, GREEDY},
    {"repeat-penalty", required_argument, NULL, REPEAT_PENALTY},
    {"presence-penalty", required_argument, NULL, PRESENCE_PENALTY},
    {"frequency-penalty", required_argument, NULL, FREQUENCY_PENALTY},
    {"repeat-last-n", required_argument, NULL, REPEAT_LAST_N},
    {"dry-multiplier", required_argument, NULL, DRY_MULTIPLIER},
    {"dry-base", required_argument, NULL, DRY_BASE},
    {"dry-allowed-length", required_argument, NULL, DRY_ALLOWED_LENGTH},
    {"dry-last-n", required_argument, NULL, DRY_LAST_N},
    {"grammar-file", required_argument, NULL, GRAMMAR_FILE},
    {"json-object", no_argument, NULL, JSON_OBJECT},
    {"chat", no_argument, NULL, CHAT},
    {"system", required_argument, NULL, SYSTEM},
    {"template", required_argument, NULL, TEMPLATE},
    {"prompts", required_argument, NULL, PROMPTS},
    {"parallel", required_argument, NULL, PARALLEL},
    {"json", no_argument, NULL, JSON},
    {"logprobs", required_argument, NULL, LOGPROBS},
    {"stats", no_argument, NULL, STATS},
    {"quiet", no_argument, NULL, 'q'},
    {"context", required_argument, NULL, CONTEXT},
    {"threads", required_argument, NULL, THREADS},
    {"prompt-threads", required_argument, NULL, PROMPT_THREADS},
    {"batch", required_argument, NULL, BATCH},
    {"flash", required_argument, NULL, FLASH},
    {"cache-k", required_argument, NULL, CACHE_K},
    {"cache-v", required_argument, NULL, CACHE_V},
    {"unified", no_argument, NULL, UNIFIED},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static int read_count(const char *name, uint32_t least, uint32_t most, uint32_t *value)
{
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(optarg, &end, 10);
    if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || errno != 0 || number < least
        || number > most) {
        return complain_of_usage("--%s: expected a number from %" PRIu32 " to %" PRIu32
                                 ", found '%s'",
                                 name, least, most, optarg);
    }
    *value = (uint32_t)number;
    return EXIT_DONE;
}

/* A number of which `range` says in words what it may be: at most `most`, and above 0 if not 0. */
static int read_share(const char *name, const char *range, bool zero, float most, float *value)
{
    char *end;
    *value = strtof(optarg, &end);
    if (end == optarg || *end != '\0' || !(*value >= 0 && *value <= most) || (*value == 0 && !zero))
        return complain_of_usage("--%s: expected a number %s, found '%s'", name, range, optarg);
    return EXIT_DONE;
}

/* A number from `-most` to `most`. */
static int read_signed(const char *name, float most, float *value)
{
    char *end;
    *value = strtof(optarg, &end);
    if (end == optarg || *end != '\0' || !(*value >= -most && *value <= most)) {
        return complain_of_usage("--%s: expected a number from %g to %g, found '%s'", name,
                                 (double)-most, (double)most, optarg);
    }
    return EXIT_DONE;
}

/* A file's text; the engine says what is wrong with a grammar. One that is longer than a grammar may be is not read
 * to its end. */
static int read_grammar(struct run_options *options)
{
    enum { MOST = 65536 + 1 };
    FILE *file = fopen(optarg, "rb");
    if (file == NULL)
        return complain("%s: %s", optarg, strerror(errno));
    free(options->grammar);
    options->grammar = malloc(MOST);
    errno = options->grammar == NULL ? ENOMEM : 0;
    const size_t n = options->grammar == NULL ? 0 : fread(options->grammar, 1, MOST, file);
    const int reason = ferror(file) || options->grammar == NULL ? errno : 0;
    fclose(file);
    options->request.grammar = options->grammar;
    options->request.grammar_len = n;
    return reason == 0 ? EXIT_DONE : complain("%s: %s", optarg, strerror(reason));
}

/* A text for llama.cpp. (Prompts are checked where they are read.) */
static int read_text(const char *name, const char **text)
{
    const size_t len = strlen(optarg);
    const size_t good = utf8_prefix(optarg, len);
    *text = optarg;
    return good == len
               ? EXIT_DONE
               : complain_of_usage("--%s: expected UTF-8, found the byte 0x%02x at byte %zu", name,
                                   (unsigned)(unsigned char)optarg[good], good + 1);
}

static int read_flash(burble_llama_flash *value)
{
    return read_flash_word(optarg, value)
               ? EXIT_DONE
               : complain_of_usage("--flash: expected auto, on or off, found '%s'", optarg);
}

static int read_cache(const char *name, burble_llama_cache *value)
{
    return read_cache_word(optarg, value)
               ? EXIT_DONE
               : complain_of_usage("--%s: expected a type that --help names, found '%s'", name,
                                   optarg);
}

/* The kinds of options that were given, as far as that matters. */
struct given {
    bool temperature, sampling, greedy, parallel;
};

static int take_sampling(int option, struct run_options *options, struct given *given)
{
    burble_llama_request *request = &options->request;
    given->sampling = true;
    switch (option) {
    case TEMPERATURE:
        given->temperature = true;
        return read_share("temperature", "from 0 to 100", true, 100, &request->temperature);
    case TOP_K:
        return read_count("top-k", 0, INT32_MAX, &request->top_k);
    case TOP_P:
        return read_share("top-p", "above 0, at most 1", false, 1, &request->top_p);
    case MIN_P:
        return read_share("min-p", "from 0 to 1", true, 1, &request->min_p);
    case TYPICAL_P:
        return read_share("typical-p", "above 0, at most 1", false, 1, &request->typical_p);
    case MIROSTAT:
        return read_count("mirostat", 0, 2, &request->mirostat);
    case MIROSTAT_TAU:
        return read_share("mirostat-tau", "above 0, at most 100", false, 100,
                          &request->mirostat_tau);
    case MIROSTAT_ETA:
        return read_share("mirostat-eta", "from 0 to 1", true, 1, &request->mirostat_eta);
    default:
        return read_count("seed", 0, UINT32_MAX, &request->seed);
    }
}

/* What changes the logits before a token is chosen, also greedily. */
static int take_penalty(int option, burble_llama_request *request)
{
    switch (option) {
    case REPEAT_PENALTY:
        return read_share("repeat-penalty", "above 0, at most 100", false, 100,
                          &request->repeat_penalty);
    case PRESENCE_PENALTY:
        return read_signed("presence-penalty", 100, &request->presence_penalty);
    case FREQUENCY_PENALTY:
        return read_signed("frequency-penalty", 100, &request->frequency_penalty);
    case REPEAT_LAST_N:
        return read_count("repeat-last-n", 0, UINT32_MAX, &request->penalty_last_n);
    case DRY_MULTIPLIER:
        return read_share("dry-multiplier", "from 0 to 100", true, 100, &request->dry_multiplier);
    case DRY_BASE:
        return read_share("dry-base", "from 1 to 100", false, 100, &request->dry_base);
    case DRY_ALLOWED_LENGTH:
        return read_count("dry-allowed-length", 0, INT32_MAX, &request->dry_allowed_length);
    default:
        return read_count("dry-last-n", 0, UINT32_MAX, &request->dry_last_n);
    }
}

static int take_size(int option, burble_llama_engine_options *engine)
{
    switch (option) {
    case CONTEXT:
        return read_count("context", 2, INT32_MAX, &engine->context);
    case THREADS:
        return read_count("threads", 1, 512, &engine->threads);
    case PROMPT_THREADS:
        return read_count("prompt-threads", 1, 512, &engine->prompt_threads);
    case BATCH:
        return read_count("batch", 1, 65536, &engine->batch);
    case FLASH:
        return read_flash(&engine->flash);
    case CACHE_K:
        return read_cache("cache-k", &engine->cache_k);
    case CACHE_V:
        return read_cache("cache-v", &engine->cache_v);
    default:
        engine->unified = true;
        return EXIT_DONE;
    }
}

static int take(int option, struct run_options *options, struct given *given)
{
    burble_llama_request *request = &options->request;
    switch (option) {
    case 'm':
        options->model = optarg;
        break;
    case 'p':
        options->prompt = optarg;
        break;
    case 'n':
        return read_count("max-tokens", 1, UINT32_MAX, &request->max_tokens);
    case 's':
        options->stops[request->n_stop++] = (burble_text){.bytes = optarg, .len = strlen(optarg)};
        break;
    case GREEDY:
        given->greedy = true;
        break;
    case REPEAT_PENALTY:
    case PRESENCE_PENALTY:
    case FREQUENCY_PENALTY:
    case REPEAT_LAST_N:
    case DRY_MULTIPLIER:
    case DRY_BASE:
    case DRY_ALLOWED_LENGTH:
    case DRY_LAST_N:
        return take_penalty(option, request);
    case GRAMMAR_FILE:
        return read_grammar(options);
    case JSON_OBJECT:
        request->json = true;
        break;
    case SYSTEM:
        options->chat = true;
        return read_text("system", &options->system);
    case TEMPLATE:
        options->chat = true;
        return read_text("template", &options->template_name);
    case CHAT:
        options->chat = true;
        break;
    case PROMPTS:
        options->prompts = optarg;
        break;
    case PARALLEL:
        given->parallel = true;
        return read_count("parallel", 1, BURBLE_LLAMA_MAX_SLOTS, &options->engine.slots);
    case JSON:
        options->json = true;
        break;
    case LOGPROBS:
        /* Frames have tokens and text lined up. */
        request->logprobs = request->frames = true;
        return read_count("logprobs", 0, BURBLE_LLAMA_MAX_LOGPROBS, &request->top_logprobs);
    case STATS:
        options->stats = true;
        break;
    case 'q':
        options->quiet = true;
        break;
    default:
        return option >= CONTEXT ? take_size(option, &options->engine)
                                 : take_sampling(option, options, given);
    }
    return EXIT_DONE;
}

/* Whether the options go together. */
static int check(struct run_options *options, const struct given *given)
{
    burble_error error;
    burble_stop *stop;
    if (options->model == NULL)
        return complain_of_usage("expected a model (--model), found none");
    if (options->grammar != NULL && options->request.json)
        return complain_of_usage("expected --grammar-file or --json-object, found both");
    if (options->prompt != NULL && options->prompts != NULL)
        return complain_of_usage("expected --prompt or --prompts, found both");
    if (options->request.logprobs && !options->json)
        return complain_of_usage("--logprobs needs --json: text has no place for them");
    if (given->parallel && options->prompts == NULL)
        return complain_of_usage("--parallel needs --prompts: there is only one prompt");
    if (given->greedy && given->sampling) {
        return complain_of_usage("--greedy: expected no other option that chooses tokens, such as "
                                 "--temperature, found both");
    }
    if (given->sampling && !given->temperature)
        options->request.temperature = 1;
    if (options->request.mirostat > 0 && options->request.temperature == 0)
        return complain_of_usage("--mirostat needs a --temperature above 0");
    if (options->request.dry_base < 1)
        return complain_of_usage("--dry-base: expected a number from 1 to 100, found %g",
                                 (double)options->request.dry_base);
    options->request.stop = options->stops;
    if (options->request.n_stop > 0) {
        const int result =
            burble_stop_create(options->stops, options->request.n_stop, false, &stop, &error);
        if (result != BURBLE_OK) {
            return result == BURBLE_EINVAL ? complain_of_usage("--stop: %s", error.message)
                                           : complain("%s", error.message);
        }
        burble_stop_destroy(&stop);
    }
    return EXIT_DONE;
}

int read_run_options(int argc, char **argv, struct run_options *options)
{
    struct given given = {0};
    int option;
    burble_llama_request_init(&options->request);
    burble_llama_engine_options_init(&options->engine);
    while ((option = getopt_long(argc, argv, "m:p:n:s:qhV", names, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            options->help = option == 'h';
            options->version = option == 'V';
            return EXIT_DONE;
        }
        const int result = option == '?'
                               ? complain_of_usage(NULL) /* getopt has said what is wrong */
                               : take(option, options, &given);
        if (result != EXIT_DONE)
            return result;
    }
    if (optind < argc) {
        return complain_of_usage("expected only options, found '%s' (give a prompt with -p)",
                                 argv[optind]);
    }
    return check(options, &given);
}

int print_run_help(void)
{
    return write_out(help[0], strlen(help[0])) ? print_only(help[1]) : EXIT_ERROR;
}
