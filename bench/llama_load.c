/* SPDX-License-Identifier: MIT
 *
 * Workloads for llama_server.py: what clients see of burble's engine or of llama-server. Each line of
 * standard input is a workload, and each prints a line of figures, NAME=VALUE:
 *
 *     speed ANSWERS TOKENS
 *         that many answers at once: tokens a second; microseconds of processor time a token of all that
 *         answers (cpu), of its llama_decode calls (decode) and of this client (client)
 *     gaps SECONDS INTERVAL PROMPT
 *         milliseconds between the tokens of eight answers that run all the time (p50 …), by the processor
 *         time of all that answers, too (cpu50 …), and their tokens a second, while a prompt of PROMPT
 *         tokens for one token comes every INTERVAL seconds (0: none); milliseconds until these prompts'
 *         token
 *     turns
 *         milliseconds to the first token of each of six turns of a conversation, by both clocks
 *     behind PROMPT
 *         milliseconds to the first token of a prompt of two tokens, submitted right after eight prompts
 *         of PROMPT tokens, and to the last one's first token
 *
 * The times are taken in this thread as text arrives. Prompts of ids are random, so that nothing that was
 * computed before can serve them.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "llama_load.h"

#include "llama_decode_time.h"

enum {
    MOST = 256,
    RUNNING = 8,
    TURNS = 6,
    MOST_PROMPT = 4096,
    MOST_GAPS = 1 << 20,
    TEXT = 1 << 14
};

/* Ids below this one are in every vocabulary that the benchmark has, and are not special ones. */
enum { FIRST_ID = 1, IDS = 2000 };

static struct answer answers[MOST];
static int32_t ids[MOST][MOST_PROMPT];
static uint64_t random_state = 1;

double seconds_of(int clock)
{
    struct timespec time;
    clock_gettime((clockid_t)clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        die("an answer", "no memory");
    return memory;
}

int64_t checked(int64_t result, const char *what)
{
    if (result < 0)
        die(what, strerror(errno));
    return result;
}

void die(const char *what, const char *detail)
{
    fprintf(stderr, "llama_load: %s: %s\n", what, detail);
    exit(1);
}

static struct moment moment(void)
{
    return (struct moment){now(), transport_cpu()};
}

static struct moment since(struct moment begin, struct moment end)
{
    return (struct moment){end.time - begin.time, end.cpu - begin.cpu};
}

static uint32_t below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % bound;
}

void arrive(struct answer *answer, const char *text, size_t len, unsigned tokens)
{
    answer->last = moment();
    if (answer->first.time == 0)
        answer->first = answer->last;
    answer->tokens += tokens;
    if (answer->arrived != NULL)
        answer->arrived(answer, text, len);
}

static void submit(struct answer *answer)
{
    answer->submitted = moment();
    answer->first = answer->last = (struct moment){0};
    answer->tokens = 0;
    answer->over = false;
    transport_submit(answer);
}

/* Makes the i-th answer one for `n` random ids. */
static struct answer *random_prompt(size_t i, size_t n, unsigned max_tokens)
{
    for (size_t j = 0; j < n; j++)
        ids[i][j] = (int32_t)(FIRST_ID + below(IDS));
    answers[i] = (struct answer){.ids = ids[i], .n_ids = n, .max_tokens = max_tokens};
    return &answers[i];
}

static void finish(size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        while (!answers[i].over)
            transport_wait(now() + 1);
}

static void cancel_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!answers[i].over)
            transport_cancel(&answers[i]);
    finish(0, n);
}

/* ---- the time in llama_decode ---------------------------------------------------------------------- */

static struct decode_time *decode_time; /* the answering process's */

static void map_decode_time(void)
{
    const char *path = getenv(DECODE_TIME_VARIABLE);
    const int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        die(DECODE_TIME_VARIABLE, "expected the name of a file that exists");
    decode_time = mmap(NULL, sizeof *decode_time, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (decode_time == MAP_FAILED)
        die(path, "cannot be mapped");
}

static double decode_seconds(void)
{
    return 1e-9 * (double)atomic_load(&decode_time->ns);
}

/* ---- workloads ------------------------------------------------------------------------------------- */

static void speed(unsigned n, unsigned tokens)
{
    const double begin = now();
    const double cpu = transport_cpu();
    const double decode = decode_seconds();
    const double client = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < n; i++) {
        answers[i] = (struct answer){.prompt = "ROMEO:", .max_tokens = tokens};
        submit(&answers[i]);
    }
    finish(0, n);
    const double all = (double)n * tokens;
    const double seconds = now() - begin;
    printf("tokens=%.1f cpu=%.3f decode=%.3f client=%.3f\n", all / seconds,
           1e6 * (transport_cpu() - cpu) / all, 1e6 * (decode_seconds() - decode) / all,
           1e6 * (seconds_of(CLOCK_THREAD_CPUTIME_ID) - client) / all);
}

/* Durations by both clocks, and their quantiles in milliseconds. */
struct durations {
    size_t n;
    double time[MOST_GAPS], cpu[MOST_GAPS];
};

static void note(struct durations *durations, struct moment begin, struct moment end)
{
    if (durations->n < MOST_GAPS) {
        durations->time[durations->n] = since(begin, end).time;
        durations->cpu[durations->n++] = since(begin, end).cpu;
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, double *values, size_t n)
{
    static const int percent[] = {50, 90, 99, 100};
    qsort(values, n, sizeof *values, compare);
    for (int i = 0; i < 4; i++) {
        const size_t at = n == 0 ? 0 : (n - 1) * (size_t)percent[i] / 100;
        printf("%s%d=%.3f ", name, percent[i], n == 0 ? 0 : 1e3 * values[at]);
    }
}

static struct durations gaps;    /* between the tokens of the answers that run all the time */
static struct durations arrived; /* from the prompts that come to their tokens */
static unsigned running_tokens;
static double measured_from;
static struct moment previous[RUNNING];

static void note_gap(struct answer *answer, const char *text, size_t len)
{
    (void)text, (void)len;
    struct moment *before = &previous[answer - answers];
    if (answer->last.time >= measured_from)
        running_tokens++;
    if (before->time >= measured_from)
        note(&gaps, *before, answer->last);
    *before = answer->last;
}

/* The answers that run all the time: the first ones. */
static void keep_running(void)
{
    for (size_t i = 0; i < RUNNING; i++) {
        if (answers[i].over) {
            random_prompt(i, 2, 480)->arrived = note_gap;
            previous[i].time = 0;
            submit(&answers[i]);
        }
    }
}

/* Notes what has become of the prompts; submits another one if `due`. Returns whether there was none to
 * be submitted. */
static bool keep_coming(bool due, size_t prompt)
{
    for (size_t i = RUNNING; i < MOST; i++) {
        if (answers[i].over && answers[i].first.time > 0) {
            if (answers[i].submitted.time >= measured_from)
                note(&arrived, answers[i].submitted, answers[i].first);
            answers[i].first.time = 0;
        }
        if (answers[i].over && due) {
            submit(random_prompt(i, prompt, 1));
            due = false;
        }
    }
    return due;
}

static void gaps_with_prompts(double seconds, double interval, size_t prompt)
{
    unsigned missed = 0;
    for (size_t i = 0; i < MOST; i++)
        answers[i] = (struct answer){.over = true};
    gaps.n = arrived.n = running_tokens = 0;
    double next = now() + 0.2;
    measured_from = next + 0.3;
    const double end = measured_from + seconds;
    while (now() < end) {
        const bool due = interval > 0 && now() >= next;
        next += due ? interval : 0;
        keep_running();
        missed += keep_coming(due, prompt);
        transport_wait(interval > 0 && next < end ? next : end);
    }
    printf("tokens=%.1f prompts=%.2f missed=%u ", running_tokens / seconds,
           (double)arrived.n / seconds, missed);
    print_quantiles("p", gaps.time, gaps.n);
    print_quantiles("cpu", gaps.cpu, gaps.n);
    print_quantiles("first", arrived.time, arrived.n);
    putchar('\n');
    cancel_all(MOST);
}

/* The user's turns of the conversation, of about seventy tokens each. */
static const char *const said[TURNS] = {
    "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is "
    "the "
    "sun.\nArise, fair sun, and kill the envious moon, who is already sick.\n"
    "What say you, cousin? Can you love the man?\n",
    "\nJULIET:\nO Romeo, Romeo! wherefore art thou Romeo?\nDeny thy father and refuse thy name;\n"
    "Or, if thou wilt not, be but sworn my love, and go.\n"
    "I take thee at thy word, and will no more.\n",
    "\nMERCUTIO:\nNay, gentle Romeo, we must have you dance.\nYou are a lover; borrow Cupid's "
    "wings,\nAnd soar with them above a common bound.\n"
    "If love be rough with you, be rough with love.\n",
    "\nFRIAR LAURENCE:\nThe grey-eyed morn smiles on the frowning night,\nChequering the eastern "
    "clouds with streaks of light.\nHold, daughter.\n"
    "I must up-fill this osier cage of ours.\n",
    "\nCAPULET:\nGood fellow, tell us here the circumstance\nThat you in pity may be heard at "
    "large.\nWhat say you to my suit, my lord?\n"
    "Let two more summers wither in their pride.\n",
    "\nPRINCE:\nRebellious subjects, enemies to peace,\nProfaners of this neighbour-stained "
    "steel.\nWill they not hear? What, ho! you men.\n"
    "On pain of torture, from those bloody hands.\n",
};

static char conversation[TEXT];

static void append_text(struct answer *answer, const char *text, size_t len)
{
    (void)answer;
    const size_t before = strlen(conversation);
    if (len >= TEXT - before)
        die("turns", "the conversation is too long");
    memcpy(conversation + before, text, len);
    conversation[before + len] = '\0';
}

static void turns(void)
{
    static char prompt[TEXT];
    /* No conversation begins as one before it. */
    snprintf(conversation, sizeof conversation, "%u\n", below(1u << 30));
    for (int turn = 0; turn < TURNS; turn++) {
        append_text(NULL, said[turn], strlen(said[turn]));
        memcpy(prompt, conversation, sizeof prompt);
        answers[0] = (struct answer){.prompt = prompt, .max_tokens = 12, .arrived = append_text};
        submit(&answers[0]);
        finish(0, 1);
        const struct moment first = since(answers[0].submitted, answers[0].first);
        printf("turn%d=%.2f cpu%d=%.2f ", turn + 1, 1e3 * first.time, turn + 1, 1e3 * first.cpu);
    }
    putchar('\n');
}

static void behind(size_t prompt)
{
    double last = 0;
    for (size_t i = 0; i < RUNNING; i++)
        submit(random_prompt(i, prompt, 2));
    struct answer *brief = random_prompt(RUNNING, 2, 2);
    submit(brief);
    finish(0, RUNNING + 1);
    for (size_t i = 0; i < RUNNING; i++) {
        const double first = since(answers[i].submitted, answers[i].first).time;
        last = first > last ? first : last;
    }
    const struct moment first = since(brief->submitted, brief->first);
    printf("short=%.2f cpu=%.2f long=%.2f\n", 1e3 * first.time, 1e3 * first.cpu, 1e3 * last);
}

/* Carries out a workload: its name, and numbers after it. */
static void run(char *line)
{
    double numbers[3] = {0};
    char *at = line + strcspn(line, " \n");
    char *end = at;
    int n = 0;
    for (; n < 3; n++) {
        numbers[n] = strtod(at, &end);
        if (end == at)
            break;
        at = end;
    }
    const size_t name = strcspn(line, " \n");
    if (strncmp(line, "speed", name) == 0 && n == 2 && numbers[0] >= 1 && numbers[0] <= MOST)
        speed((unsigned)numbers[0], (unsigned)numbers[1]);
    else if (strncmp(line, "gaps", name) == 0 && n == 3 && numbers[2] <= MOST_PROMPT)
        gaps_with_prompts(numbers[0], numbers[1], (size_t)numbers[2]);
    else if (strncmp(line, "behind", name) == 0 && n == 1 && numbers[0] <= MOST_PROMPT)
        behind((size_t)numbers[0]);
    else if (strncmp(line, "turns", name) == 0 && n == 0)
        turns();
    else
        die("expected a workload, found", line);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[128];
    if (argc < 2) {
        fprintf(stderr, "usage: %s\n", transport_usage);
        return 2;
    }
    map_decode_time();
    transport_open(argc, argv);
    while (fgets(line, sizeof line, stdin) != NULL)
        run(line);
    transport_close();
    return 0;
}
