/* SPDX-License-Identifier: MIT
 *
 * `burble tokens`: a filter from token ids to text. Whatever one read brings is turned into text and
 * written before the next, so nothing waits in here that is final.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <burble/detok.h>
#include <burble/stop.h>
#include <burble/vocab.h>

#include "command.h"
#include "id_parser.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* How many bytes are read at once. */
#define READ_SIZE 65536

static const char help[] = //
    "usage: burble tokens [OPTION]... VOCAB\n"
    "\n"
    "Reads token ids from standard input and writes their text to standard output:\n"
    "each character as soon as no later id can change it.\n"
    "\n"
    "VOCAB is a tokenizer.json of Hugging Face, a GGUF file, a tiktoken rank file, a\n"
    "SentencePiece .model or a Tekken file of mistral-common; the format is detected.\n"
    "\n"
    "  -b, --binary         the ids are 32-bit integers, least significant byte first\n"
    "                       (otherwise they are decimal numbers between white space)\n"
    "  -f, --format=FORMAT  the format of VOCAB: hf, gguf, tiktoken, sentencepiece,\n"
    "                       tekken, or auto (the default): detect it\n"
    "  -k, --skip-special   leave out special tokens, such as </s>\n"
    "  -c, --clean-up       remove spaces before punctuation, as transformers does\n"
    "                       with clean_up_tokenization_spaces\n"
    "  -s, --stop=STRING    end before the first STRING in the text; if given more\n"
    "                       than once, at the string that is complete first; of\n"
    "                       strings complete at the same place, at the longest\n"
    "  -i, --include-stop   end behind the stop string instead\n"
    "  -h, --help           this text\n"
    "  -V, --version        the version\n"
    "\n"
    "An id that VOCAB does not have has no text. An incomplete character at the end\n"
    "of the input becomes U+FFFD. After a stop string, the rest of the input is not\n"
    "read. On a terminal, a text without a newline at its end gets one.\n"
    "\n"
    "Exit status: 0 on success; 1 after an error of the input, VOCAB or the system,\n"
    "after the text up to there was written; 2 if the command line is wrong.\n"
    "\n"
    "  echo 17 4 92 | burble tokens tokenizer.json\n"
    "  generate | burble tokens --binary --stop '</s>' --stop $'\\n\\n' model.gguf\n";

/* ---- the command line ------------------------------------------------------------------------ */

struct options {
    const char *vocab;
    burble_vocab_format format;
    bool binary, skip_special, clean_up, include_stop;
    bool help, version;
    burble_text *stops; /* the arguments'; room for as many as there are arguments */
    size_t n_stops;
};

static const struct {
    const char *name;
    burble_vocab_format format;
} formats[] = {
    {"auto", BURBLE_VOCAB_AUTO},     {"hf", BURBLE_VOCAB_HF_JSON},
    {"gguf", BURBLE_VOCAB_GGUF},     {"tiktoken", BURBLE_VOCAB_TIKTOKEN},
    {"tekken", BURBLE_VOCAB_TEKKEN}, {"sentencepiece", BURBLE_VOCAB_SENTENCEPIECE},
};

static bool read_format(const char *name, burble_vocab_format *format)
{
    for (size_t i = 0; i < COUNT(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            *format = formats[i].format;
            return true;
        }
    }
    return false;
}

/* EXIT_DONE, or EXIT_USAGE after a message. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"binary", no_argument, NULL, 'b'},
        {"format", required_argument, NULL, 'f'},
        {"skip-special", no_argument, NULL, 'k'},
        {"clean-up", no_argument, NULL, 'c'},
        {"stop", required_argument, NULL, 's'},
        {"include-stop", no_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "bf:kcs:ihV", names, NULL)) != -1) {
        switch (option) {
        case 'b':
            options->binary = true;
            break;
        case 'f':
            if (!read_format(optarg, &options->format)) {
                return complain_of_usage("--format: expected auto, hf, gguf, tiktoken, "
                                         "sentencepiece or tekken, found '%s'",
                                         optarg);
            }
            break;
        case 'k':
            options->skip_special = true;
            break;
        case 'c':
            options->clean_up = true;
            break;
        case 's':
            options->stops[options->n_stops++] =
                (burble_text){.bytes = optarg, .len = strlen(optarg)};
            break;
        case 'i':
            options->include_stop = true;
            break;
        case 'h':
            options->help = true;
            return EXIT_DONE;
        case 'V':
            options->version = true;
            return EXIT_DONE;
        default: /* getopt has said what is wrong */
            return complain_of_usage(NULL);
        }
    }
    if (argc - optind != 1) {
        return argc == optind ? complain_of_usage("expected a VOCAB, found nothing")
                              : complain_of_usage("expected one VOCAB, found '%s' and '%s'",
                                                  argv[optind], argv[optind + 1]);
    }
    options->vocab = argv[optind];
    return EXIT_DONE;
}

/* ---- the filter ------------------------------------------------------------------------------ */

struct filter {
    struct id_parser parser;
    burble_detok *detok;
    const struct options *options;
    burble_stop *stop;              /* NULL without stop strings */
    burble_stop_token *stop_tokens; /* special tokens that are left out, and end the text */
    size_t n_stop_tokens;
    bool stopped;
    bool mid_line; /* the text so far does not end with a newline */
    char bytes[READ_SIZE];
    int32_t ids[ID_PARSER_ROOM(READ_SIZE)];
};

static int put(struct filter *filter, burble_text text)
{
    if (text.len > 0)
        filter->mid_line = text.bytes[text.len - 1] != '\n';
    return write_out(text.bytes, text.len) ? EXIT_DONE : EXIT_ERROR;
}

/* On a terminal, what comes next begins a line: a message, or the shell's prompt. Elsewhere, the text is
 * left as it is. */
static void leave_terminal(struct filter *filter)
{
    if (filter->mid_line && isatty(STDOUT_FILENO) == 1)
        filter->mid_line = !write_out("\n", 1);
}

static int write_text(struct filter *filter, burble_text text)
{
    if (filter->stop != NULL) {
        const int result = burble_stop_push(filter->stop, text.bytes, text.len, &text, NULL);
        if (result < 0)
            return complain("%s", burble_result_text(result));
        filter->stopped = result == BURBLE_END;
    }
    return put(filter, text);
}

static int take_ids(struct filter *filter, size_t n)
{
    burble_text text;
    const int result = burble_detok_push(filter->detok, filter->ids, n, &text);
    return result < 0 ? complain("%s", burble_result_text(result)) : write_text(filter, text);
}

/* Reads once, however little there is. Returns how many bytes, 0 at the end, or -1 with errno. */
static ssize_t read_some(char *bytes, size_t size)
{
    for (;;) {
        const ssize_t n = read(STDIN_FILENO, bytes, size);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK) { /* somebody made it non-blocking */
            struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
            poll(&in, 1, -1);
        } else if (errno != EINTR) {
            return -1;
        }
    }
}

/* Writes the text that the detokenizer and the stop filter still hold. */
static int write_rest(struct filter *filter)
{
    burble_text text;
    burble_detok_finish(filter->detok, &text);
    int result = write_text(filter, text);
    if (result == EXIT_DONE && filter->stop != NULL) {
        burble_stop_finish(filter->stop, &text);
        result = put(filter, text);
    }
    return result;
}

/* The stop token with this id; NULL: it is none. */
static const burble_stop_token *stop_token_of(const struct filter *filter, int32_t id)
{
    for (size_t i = 0; i < filter->n_stop_tokens; i++)
        if (filter->stop_tokens[i].id == (uint32_t)id)
            return &filter->stop_tokens[i];
    return NULL;
}

/* Takes the ids up to the first stop token, which ends the text. */
static int take_ids_to_stop_token(struct filter *filter, size_t n)
{
    const burble_stop_token *token = NULL;
    size_t before = 0;
    while (before < n && (token = stop_token_of(filter, filter->ids[before])) == NULL)
        before++;
    int result = take_ids(filter, before);
    if (result != EXIT_DONE || filter->stopped || token == NULL)
        return result;
    result = write_rest(filter);
    if (result == EXIT_DONE && !filter->stopped && filter->options->include_stop)
        result = put(filter, filter->options->stops[token->which]);
    filter->stopped = true;
    return result;
}

/* From the first id to the end of the input, or of the text. */
static int run(struct filter *filter)
{
    for (;;) {
        const ssize_t n = read_some(filter->bytes, sizeof filter->bytes);
        if (n < 0) {
            const int error = errno;
            leave_terminal(filter);
            return complain("standard input: %s", strerror(error));
        }
        const size_t found =
            n == 0 ? id_parser_finish(&filter->parser, filter->ids)
                   : id_parser_feed(&filter->parser, filter->bytes, (size_t)n, filter->ids);
        const int result = take_ids_to_stop_token(filter, found);
        if (result != EXIT_DONE || filter->stopped) {
            leave_terminal(filter);
            return result;
        }
        const bool wrong = filter->parser.error[0] != '\0';
        if (n == 0 || wrong) {
            const int rest = write_rest(filter);
            leave_terminal(filter);
            return wrong ? complain("standard input: %s", filter->parser.error) : rest;
        }
    }
}

/* Looks for stop strings that are the text of tokens which are left out. EXIT_DONE or EXIT_ERROR. */
static int find_stop_tokens(struct filter *filter, const burble_vocab *vocab)
{
    const struct options *options = filter->options;
    if (!options->skip_special)
        return EXIT_DONE;
    const size_t n = burble_stop_tokens(vocab, options->stops, options->n_stops, NULL, 0);
    if (n > 0) {
        filter->stop_tokens = calloc(n, sizeof *filter->stop_tokens);
        if (filter->stop_tokens == NULL)
            return complain("%s", strerror(ENOMEM));
        filter->n_stop_tokens =
            burble_stop_tokens(vocab, options->stops, options->n_stops, filter->stop_tokens, n);
    }
    return EXIT_DONE;
}

/* Makes what the options ask for. */
static int prepare(const struct options *options, struct filter *filter)
{
    burble_error error = {.message = ""};
    if (options->n_stops > 0) {
        const int result = burble_stop_create(options->stops, options->n_stops,
                                              options->include_stop, &filter->stop, &error);
        if (result != BURBLE_OK) {
            return result == BURBLE_EINVAL ? complain_of_usage("--stop: %s", error.message)
                                           : complain("%s", error.message);
        }
    }
    burble_vocab *vocab;
    if (burble_vocab_load(options->vocab, options->format, &vocab, &error) != BURBLE_OK)
        return complain("%s", error.message);
    burble_detok_options detok_options;
    burble_detok_options_init(&detok_options);
    detok_options.skip_special = options->skip_special;
    detok_options.clean_up = options->clean_up;
    const int found = find_stop_tokens(filter, vocab);
    const int result = burble_detok_create(vocab, &detok_options, &filter->detok);
    burble_vocab_unref(&vocab);
    id_parser_init(&filter->parser, options->binary);
    return result == BURBLE_OK ? found : complain("%s", burble_result_text(result));
}

static int filter_main(const struct options *options)
{
    struct filter *filter = calloc(1, sizeof *filter);
    if (filter == NULL)
        return complain("%s", strerror(ENOMEM));
    filter->options = options;
    int result = prepare(options, filter);
    if (result == EXIT_DONE) {
        say_reading("token ids", "them");
        result = run(filter);
        if (result == EXIT_DONE && !close_out())
            result = EXIT_ERROR;
    }
    burble_detok_destroy(&filter->detok);
    burble_stop_destroy(&filter->stop);
    free(filter->stop_tokens);
    free(filter);
    return result;
}

int tokens_main(int argc, char **argv)
{
    struct options options = {.format = BURBLE_VOCAB_AUTO};
    options.stops = calloc((size_t)argc, sizeof *options.stops);
    if (options.stops == NULL)
        return complain("%s", strerror(ENOMEM));
    int result = read_options(argc, argv, &options);
    if (result == EXIT_DONE && options.help)
        result = print_only(help);
    else if (result == EXIT_DONE && options.version)
        result = print_version();
    else if (result == EXIT_DONE)
        result = filter_main(&options);
    free(options.stops);
    return result;
}
