/* SPDX-License-Identifier: MIT
 *
 * `burble run`: continues texts with a language model. One thread, this one, waits for everything at
 * once: text from the engine, room in standard output, a signal.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <burble/frame.h>
#include <burble/hub.h>
#include <burble/llama.h>

#include "command.h"
#include "prompts.h"
#include "run_options.h"
#include "run_output.h"
#include "signals.h"

/* One prompt and its text. */
struct job {
    struct run *run;
    size_t number; /* from 1 */
    burble_stream *stream;
    burble_reader *reader;
    struct figures figures;
    struct pace pace;  /* the engine's thread writes it, with the run's lock held */
    struct bytes text; /* that came before its turn to be shown */
    bool over;
};

struct run {
    const struct run_options *options;
    struct prompts prompts;
    struct job *jobs;     /* one for each prompt */
    size_t begun, n_over; /* jobs are begun in order */
    size_t shown;         /* text: the one whose text is being written */

    burble_llama_model *model;
    burble_llama_engine *engine;
    burble_hub *hub;
    struct output output;
    pthread_mutex_t lock; /* of the jobs' paces */
    int signals;
    int signal;     /* that came; 0: none */
    bool leaving;   /* nothing is shown any more */
    bool left_line; /* a newline was written when it left */
    int result;
    uint64_t begin;
};

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* ---- what a job's text becomes ----------------------------------------------------------------------- */

static void show_heading(struct run *run, const struct job *job)
{
    const struct prompt *prompt = &run->prompts.list[job->number - 1];
    output_heading(&run->output, job->number, prompt->text, prompt->len);
}

/* After a job has ended: shows those that were waiting for it, up to one that has not. */
static void show_next(struct run *run)
{
    while (run->shown < run->prompts.n && run->jobs[run->shown].over) {
        struct job *job = &run->jobs[run->shown++];
        output_end(&run->output, job->number, &job->figures);
        if (run->shown < run->prompts.n) {
            struct job *next = &run->jobs[run->shown];
            show_heading(run, next);
            output_text(&run->output, next->number, next->text.data, next->text.len, 0);
            bytes_free(&next->text);
        }
    }
}

/* Whether there was memory for it. */
static bool take_text(struct job *job, const burble_record *record)
{
    struct run *run = job->run;
    struct figures *figures = &job->figures;
    if (figures->first == 0)
        figures->first = now();
    figures->tokens += record->tokens;
    if (run->options->json || job->number - 1 == run->shown)
        output_text(&run->output, job->number, record->text, record->len, record->tokens);
    else
        bytes_put(&job->text, record->text, record->len);
    return !job->text.failed;
}

/* A text, with the log-probabilities of its tokens; or the end, which may have tokens that make no text. Those of a stop
 * string, and the one at which the model ended its text, do not count, as in text without frames. */
static void take_frame(struct job *job, const burble_record *record)
{
    struct figures *figures = &job->figures;
    burble_frame frame;
    if (burble_frame_read(record->text, record->len, &frame) != BURBLE_OK)
        return;
    burble_text text = {"", 0};
    burble_text logprobs = {"", 0};
    if (frame.kind == BURBLE_FRAME_TEXT) {
        text = frame.u.text.text;
        logprobs = frame.u.text.logprobs;
    } else if (frame.kind != BURBLE_FRAME_FINISH || frame.u.text.reason == BURBLE_FRAME_STOP
               || frame.u.text.n_ids == 0) {
        return;
    }
    if (figures->first == 0)
        figures->first = now();
    figures->tokens += frame.u.text.n_ids;
    output_logprobs(&job->run->output, job->number, text, frame.u.text.n_ids, logprobs);
}

/* Called in the engine's thread, which knows when a token was made: several may be read at once. */
static void on_token(const burble_llama_progress *progress, void *arg)
{
    struct job *job = arg;
    struct pace *pace = &job->pace;
    const uint64_t at = now();
    pthread_mutex_lock(&job->run->lock);
    if (progress->tokens > pace->tokens) {
        if (pace->tokens == 0)
            pace->first = at;
        pace->last = at;
        pace->tokens = progress->tokens;
    }
    pthread_mutex_unlock(&job->run->lock);
}

static int complain_of_job(const struct job *job, const char *error)
{
    const struct run *run = job->run;
    return run->options->prompts == NULL ? complain("%s", error)
                                         : complain("prompt %zu, line %zu: %s", job->number,
                                                    run->prompts.list[job->number - 1].line, error);
}

static void end_job(struct job *job, const char *reason, const char *error)
{
    struct run *run = job->run;
    job->over = true;
    job->figures.over = now();
    job->figures.reason = reason;
    job->figures.error = error;
    pthread_mutex_lock(&run->lock);
    job->figures.pace = job->pace;
    pthread_mutex_unlock(&run->lock);
    run->n_over++;
    if (run->options->json)
        output_end(&run->output, job->number, &job->figures);
    else if (!run->leaving)
        show_next(run);
    if (error != NULL) {
        if (run->output.terminal)
            output_flush(&run->output); /* the message below its text */
        run->result = complain_of_job(job, error);
    }
    job->figures.error = NULL; /* not ours to keep */
    burble_reader_destroy(&job->reader);
    burble_stream_unref(&job->stream);
}

static void end_as_stream(struct job *job)
{
    burble_status status;
    burble_stream_status(job->stream, &status);
    if (status.state == BURBLE_FAILED) {
        end_job(job, "error",
                status.message[0] != '\0' ? status.message : burble_result_text(status.code));
    } else if (status.state == BURBLE_CANCELLED) {
        end_job(job, "cancelled", NULL);
    } else {
        end_job(job, status.reason == BURBLE_REASON_LENGTH ? "length" : "stop", NULL);
    }
}

/* The hub calls this when a job's stream has moved. */
static void on_ready(burble_reader *reader, void *arg)
{
    struct job *job = arg;
    burble_record record;
    int result;
    while ((result = burble_reader_next_or_park(reader, &record)) == BURBLE_OK) {
        if (job->run->options->request.frames) {
            take_frame(job, &record);
        } else if (!take_text(job, &record)) {
            burble_stream_cancel(job->stream);
            end_job(job, "error", strerror(ENOMEM));
            return;
        }
    }
    if (result != BURBLE_AGAIN)
        end_as_stream(job);
}

/* ---- beginning a job ---------------------------------------------------------------------------------- */

/* The ids of the prompt as the chat template has it; results as of burble_llama_model_tokenize_chat. */
static int tokenize_chat(struct run *run, const struct prompt *prompt, int32_t *ids, size_t room,
                         size_t *n, burble_error *error)
{
    burble_llama_message messages[2];
    burble_llama_conversation conversation;
    burble_llama_conversation_init(&conversation);
    if (run->options->system != NULL) {
        messages[conversation.n++] =
            (burble_llama_message){.role = "system", .content = run->options->system};
    }
    messages[conversation.n++] = (burble_llama_message){
        .role = "user",
        .content = prompt->len > 0 ? prompt->text : "",
        .content_len = prompt->len,
    };
    conversation.messages = messages;
    conversation.template_name = run->options->template_name;
    return burble_llama_model_tokenize_chat(run->model, &conversation, ids, room, n, error);
}

static int tokenize(struct run *run, const struct prompt *prompt, int32_t *ids, size_t room,
                    size_t *n, burble_error *error)
{
    return run->options->chat ? tokenize_chat(run, prompt, ids, room, n, error)
                              : burble_llama_model_tokenize(run->model, prompt->text, prompt->len,
                                                            false, ids, room, n);
}

/* The prompt's ids, *n of them, in *ids, which the caller frees. */
static int make_ids(struct run *run, const struct prompt *prompt, int32_t **ids, size_t *n,
                    burble_error *error)
{
    *ids = NULL;
    int result = tokenize(run, prompt, NULL, 0, n, error);
    if (result == BURBLE_EFULL) {
        *ids = calloc(*n, sizeof **ids);
        result = *ids == NULL ? BURBLE_ENOMEM : tokenize(run, prompt, *ids, *n, n, error);
    }
    return result;
}

/* Hands the job's prompt to the engine. */
static int submit(struct job *job, burble_error *error)
{
    struct run *run = job->run;
    int32_t *ids;
    size_t n;
    int result = make_ids(run, &run->prompts.list[job->number - 1], &ids, &n, error);
    if (result == BURBLE_OK && n == 0) {
        snprintf(error->message, sizeof error->message, "expected a prompt, found an empty one");
        result = BURBLE_EINVAL;
    }
    if (result == BURBLE_OK) {
        burble_llama_request request = run->options->request;
        request.ids = ids;
        request.n_ids = n;
        request.watch = on_token;
        request.watch_arg = job;
        result = burble_llama_engine_submit(run->engine, &request, job->stream, error);
        job->figures.prompt_tokens = result == BURBLE_OK ? n : 0;
    }
    free(ids);
    return result;
}

static int start(struct job *job, burble_error *error)
{
    int result = burble_stream_create(NULL, &job->stream);
    if (result == BURBLE_OK)
        result = burble_reader_create(job->stream, 0, &job->reader, NULL);
    if (result == BURBLE_OK)
        result = burble_reader_attach(job->reader, job->run->hub, on_ready, job);
    return result == BURBLE_OK ? submit(job, error) : result;
}

static void begin_job(struct job *job)
{
    burble_error error = {.message = ""};
    job->figures.begun = now();
    const int result = start(job, &error);
    if (result == BURBLE_OK) {
        on_ready(job->reader, job); /* parks */
    } else {
        end_job(job, "error",
                error.message[0] != '\0' ? error.message : burble_result_text(result));
    }
}

/* Keeps every slot busy, and as many again waiting, so that none is idle between two prompts. */
static void begin_more(struct run *run)
{
    const size_t most = 2 * (size_t)run->options->engine.slots;
    while (run->begun < run->prompts.n && run->begun - run->n_over < most)
        begin_job(&run->jobs[run->begun++]);
}

/* ---- until all is written, or something ends it --------------------------------------------------------- */

/* Takes part in nothing any more: ends every stream, and the step that computes for them. */
static void cancel(struct run *run)
{
    run->leaving = true;
    for (size_t i = 0; i < run->begun; i++) {
        if (!run->jobs[i].over) {
            burble_stream_cancel(run->jobs[i].stream);
            end_job(&run->jobs[i], "cancelled", NULL);
        }
    }
    burble_llama_engine_destroy(&run->engine);
}

/* The reader of standard output has gone: ends as a write would have, without waiting for text. */
static int give_way(void)
{
    raise(SIGPIPE);
    return EXIT_ERROR; /* where that is ignored */
}

static int stream_all(struct run *run)
{
    show_heading(run, &run->jobs[0]);
    for (;;) {
        begin_more(run);
        if (run->output.bytes.failed) /* before the end is taken for a good one */
            return complain("%s", strerror(ENOMEM));
        const bool pending = output_pending(&run->output);
        if (run->n_over == run->prompts.n && !pending)
            return EXIT_DONE;
        struct pollfd fds[] = {
            {.fd = run->signals, .events = POLLIN},
            {.fd = STDOUT_FILENO, .events = pending ? POLLOUT : 0},
            {.fd = burble_hub_fd(run->hub), .events = POLLIN},
        };
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            return complain("poll: %s", strerror(errno));
        run->signal = signals_take();
        if (run->signal != 0)
            return EXIT_DONE;
        if ((fds[1].revents & (POLLERR | POLLHUP)) != 0) /* a pipe's, a socket's */
            return give_way();
        if ((fds[1].revents & POLLOUT) != 0 && !output_send(&run->output))
            return EXIT_ERROR;
        burble_hub_dispatch(run->hub, 256);
    }
}

/* ---- loading ---------------------------------------------------------------------------------------------- */

/* How far the model is, for a person to look at. */
struct loading {
    struct run *run;
    bool visible;
    int percent;
};

static bool on_progress(float done, void *arg)
{
    struct loading *loading = arg;
    const int percent = (int)(done * 100);
    if (loading->visible && percent != loading->percent) {
        loading->percent = percent;
        fprintf(stderr, "\rloading the model: %d %%", percent);
    }
    loading->run->signal = signals_take();
    return loading->run->signal == 0;
}

static int load(struct run *run)
{
    burble_error error = {.message = ""};
    struct loading loading = {
        .run = run,
        .visible = !run->options->quiet && isatty(STDERR_FILENO) == 1,
        .percent = -1,
    };
    burble_llama_model_options options;
    burble_llama_model_options_init(&options);
    options.progress = on_progress;
    options.progress_arg = &loading;
    int result = burble_llama_model_load(run->options->model, &options, &run->model, &error);
    if (loading.percent >= 0)
        fputs("\r                        \r", stderr);
    if (run->signal == 0)
        run->signal = signals_take();
    if (result == BURBLE_OK && run->signal == 0) {
        result =
            burble_llama_engine_create(run->model, &run->options->engine, &run->engine, &error);
    }
    if (run->signal == 0 && result != BURBLE_OK)
        return complain("%s", error.message);
    return EXIT_DONE;
}

static int open_hub(struct run *run)
{
    const int result = burble_hub_create(NULL, &run->hub);
    return result == BURBLE_OK        ? EXIT_DONE
           : result == BURBLE_ESYSTEM ? complain("cannot create a hub: %s", strerror(errno))
                                      : complain("%s", burble_result_text(result));
}

static int read_prompts(struct run *run)
{
    const struct run_options *options = run->options;
    struct prompts *prompts = &run->prompts;
    const bool is_argument =
        options->prompts == NULL && options->prompt != NULL && strcmp(options->prompt, "-") != 0;
    int result = EXIT_DONE;
    if (!is_argument) {
        if (!options->quiet && (options->prompts == NULL || strcmp(options->prompts, "-") == 0)) {
            say_reading(options->prompts == NULL ? "the prompt" : "the prompts",
                        options->prompts == NULL ? "it" : "them");
        }
        result = prompts_read(prompts, options->prompts == NULL ? "-" : options->prompts,
                              run->signals, &run->signal);
    }
    if (result == EXIT_DONE && run->signal == 0) {
        result = is_argument                ? prompts_argument(prompts, options->prompt)
                 : options->prompts == NULL ? prompts_whole(prompts)
                                            : prompts_lines(prompts, options->prompts);
    }
    return result;
}

static int make_jobs(struct run *run)
{
    run->jobs = calloc(run->prompts.n, sizeof *run->jobs);
    if (run->jobs == NULL)
        return complain("%s", strerror(ENOMEM));
    for (size_t i = 0; i < run->prompts.n; i++) {
        run->jobs[i].run = run;
        run->jobs[i].number = i + 1;
    }
    return EXIT_DONE;
}

/* ---- what was done ------------------------------------------------------------------------------------------ */

static struct figures total(const struct run *run)
{
    struct figures total = {.begun = run->begin, .over = now()};
    for (size_t i = 0; i < run->begun; i++) {
        const struct figures *figures = &run->jobs[i].figures;
        total.prompt_tokens += figures->prompt_tokens;
        total.tokens += figures->tokens;
        if (figures->first != 0 && (total.first == 0 || figures->first < total.first))
            total.first = figures->first;
    }
    return total;
}

static void say_signal(const struct run *run, const struct figures *figures)
{
    if (isatty(STDERR_FILENO) == 1 && !run->left_line)
        fputc('\n', stderr); /* the terminal has shown ^C */
    const char *const name = run->signal == SIGINT ? "SIGINT" : "SIGTERM";
    if (run->begun == 0) {
        complain("cancelled by %s before the text began", name);
    } else if (run->options->prompts == NULL) {
        complain("cancelled by %s after %" PRIu64 " tokens", name, figures->tokens);
    } else {
        complain("cancelled by %s after %" PRIu64 " tokens for %zu of %zu prompts", name,
                 figures->tokens, run->begun, run->prompts.n);
    }
}

/* Of one prompt, that of its tokens after the first one; of several, that of all together. */
static void say_rate(const struct run *run, const struct figures *figures)
{
    if (run->options->prompts != NULL) {
        if (figures->tokens > 0 && figures->over > figures->begun) {
            fprintf(stderr, ", %.1f tokens/s in all",
                    (double)figures->tokens * 1e9 / (double)(figures->over - figures->begun));
        }
        return;
    }
    const double rate = run->begun == 0 ? -1 : pace_rate(&run->jobs[0].figures.pace);
    if (rate >= 0)
        fprintf(stderr, ", then %.1f tokens/s", rate);
}

static void say_stats(const struct run *run, const struct figures *figures)
{
    const bool colour = isatty(STDERR_FILENO) == 1 && may_colour();
    const double first = figures_first(figures);
    fputs(colour ? "\033[2m" : "", stderr);
    if (run->options->prompts != NULL)
        fprintf(stderr, "prompts: %zu, ", run->begun);
    fprintf(stderr, "prompt tokens: %" PRIu64 ", tokens: %" PRIu64, figures->prompt_tokens,
            figures->tokens);
    if (run->options->prompts == NULL && run->begun > 0)
        fprintf(stderr, " (%s)", run->jobs[0].figures.reason);
    if (first >= 0)
        fprintf(stderr, ", first text after %.3f s", first);
    say_rate(run, figures);
    fputs(colour ? "\033[0m\n" : "\n", stderr);
}

static int report(struct run *run, int result)
{
    const struct figures figures = total(run);
    if (run->signal != 0 && !run->options->quiet)
        say_signal(run, &figures);
    if (run->options->stats && run->begin != 0)
        say_stats(run, &figures);
    return run->signal != 0 ? 128 + run->signal : result;
}

/* ---- the verb ------------------------------------------------------------------------------------------------ */

/* Descriptors 0 to 2 must not become something else's: a model's, say, or a pipe's. What takes the
 * place of one that is closed cannot be read. */
static int guard_descriptors(void)
{
    if (fcntl(STDOUT_FILENO, F_GETFD) < 0) {
        complain_of_output();
        return EXIT_ERROR;
    }
    int fd;
    do {
        fd = open("/dev/null", O_WRONLY);
    } while (fd == STDIN_FILENO || fd == STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    return EXIT_DONE;
}

static int generate(struct run *run)
{
    int result = read_prompts(run);
    if (result == EXIT_DONE && run->signal == 0)
        result = make_jobs(run);
    if (result == EXIT_DONE && run->signal == 0)
        result = load(run);
    if (result == EXIT_DONE && run->signal == 0)
        result = open_hub(run);
    if (result == EXIT_DONE && run->signal == 0) {
        run->begin = now();
        result = stream_all(run);
        cancel(run);
        if (result == EXIT_DONE) {
            run->left_line = output_leave(&run->output);
            output_flush(&run->output);
        }
    }
    return result == EXIT_DONE ? run->result : result;
}

static void finish(struct run *run)
{
    for (size_t i = 0; i < run->begun; i++)
        bytes_free(&run->jobs[i].text);
    burble_hub_destroy(&run->hub);
    burble_llama_engine_destroy(&run->engine);
    burble_llama_model_unref(&run->model);
    output_free(&run->output);
    prompts_free(&run->prompts);
    free(run->jobs);
}

static int run_with(struct run_options *options)
{
    /* (A mutex from this initializer has nothing to free.) */
    struct run run = {.options = options, .lock = PTHREAD_MUTEX_INITIALIZER};
    if (options->prompts == NULL)
        options->engine.slots = 1;
    output_init(&run.output, options->json, options->prompts != NULL);
    int result = guard_descriptors();
    if (result == EXIT_DONE) {
        run.signals = signals_open();
        result = run.signals < 0 ? complain("cannot set up signals: %s", strerror(errno))
                                 : generate(&run);
        result = report(&run, result);
        if (!close_out() && result == EXIT_DONE)
            result = EXIT_ERROR;
    }
    finish(&run);
    signals_close();
    return result;
}

int run_main(int argc, char **argv)
{
    struct run_options options = {0};
    options.stops = calloc((size_t)argc, sizeof *options.stops);
    if (options.stops == NULL)
        return complain("%s", strerror(ENOMEM));
    int result = read_run_options(argc, argv, &options);
    if (result == EXIT_DONE && options.help)
        result = print_run_help();
    else if (result == EXIT_DONE && options.version)
        result = print_version();
    else if (result == EXIT_DONE)
        result = run_with(&options);
    free(options.grammar);
    free(options.stops);
    return result;
}
