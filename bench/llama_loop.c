/* SPDX-License-Identifier: MIT
 *
 * The peer of llama_engine, for llama.py: llama.cpp alone, as its users write it. Each step is one
 * llama_decode for a batch of all sequences, and the likeliest token of each. No text is made.
 *
 *     llama_loop MODEL SEQUENCES TOKENS THREADS
 *
 * Each character that comes in begins a round, and what comes out is tokens per second, and per
 * second of all its threads' time on a processor.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llama.h>

static const char prompt[] = "ROMEO:";
enum { MOST = 64 };

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void quiet(enum ggml_log_level level, const char *text, void *unused)
{
    (void)level, (void)text, (void)unused;
}

static void die(const char *what)
{
    fprintf(stderr, "llama_loop: %s\n", what);
    exit(1);
}

static void add(struct llama_batch *batch, llama_token id, llama_pos pos, llama_seq_id sequence,
                bool logits)
{
    const int32_t row = batch->n_tokens++;
    batch->token[row] = id;
    batch->pos[row] = pos;
    batch->n_seq_id[row] = 1;
    batch->seq_id[row][0] = sequence;
    batch->logits[row] = logits;
}

static llama_token likeliest(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void one_round(struct llama_context *context, const struct llama_vocab *vocab,
                      struct llama_batch *batch, int sequences, int tokens)
{
    llama_token ids[MOST];
    int32_t rows[MOST];
    llama_token next[MOST];
    llama_memory_clear(llama_get_memory(context), false);
    const double begin = now(CLOCK_MONOTONIC);
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    const int n = llama_tokenize(vocab, prompt, sizeof prompt - 1, ids, MOST, true, false);
    batch->n_tokens = 0;
    for (int s = 0; s < sequences; s++) {
        for (int i = 0; i < n; i++)
            add(batch, ids[i], i, s, i + 1 == n);
        rows[s] = batch->n_tokens - 1;
    }
    for (int t = 0;; t++) {
        if (llama_decode(context, *batch) != 0)
            die("llama_decode failed");
        for (int s = 0; s < sequences; s++) {
            next[s] =
                likeliest(llama_get_logits_ith(context, rows[s]), llama_vocab_n_tokens(vocab));
        }
        if (t + 1 == tokens)
            break;
        batch->n_tokens = 0;
        for (int s = 0; s < sequences; s++) {
            rows[s] = s;
            add(batch, next[s], n + t, s, true);
        }
    }
    printf("%.1f %.1f\n", sequences * tokens / (now(CLOCK_MONOTONIC) - begin),
           sequences * tokens / (now(CLOCK_PROCESS_CPUTIME_ID) - cpu));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: llama_loop MODEL SEQUENCES TOKENS THREADS");
    const int sequences = (int)strtol(argv[2], NULL, 10);
    const int tokens = (int)strtol(argv[3], NULL, 10);
    const int threads = (int)strtol(argv[4], NULL, 10);
    if (sequences < 1 || sequences > MOST)
        die("SEQUENCES: expected 1 to 64");
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == NULL)
        die("the model cannot be loaded");
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)(512 * sequences);
    params.n_batch = 512 + (uint32_t)sequences;
    params.n_ubatch = params.n_batch;
    params.n_seq_max = (uint32_t)sequences;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.n_outputs_max = (uint32_t)sequences;
    params.n_threads = threads;
    params.n_threads_batch = threads;
    params.no_perf = true;
    struct llama_context *context = llama_init_from_model(model, params);
    struct ggml_threadpool_params pool = ggml_threadpool_params_default(threads);
    ggml_backend_reg_t cpu =
        ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    struct ggml_threadpool *(*create)(struct ggml_threadpool_params *);
    *(void **)&create = ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_new");
    if (context == NULL || create == NULL)
        die("no context");
    struct ggml_threadpool *threadpool = create(&pool);
    llama_attach_threadpool(context, threadpool, threadpool);
    struct llama_batch batch = llama_batch_init((int32_t)params.n_batch, 0, 1);
    while (getchar() != EOF)
        one_round(context, llama_model_get_vocab(model), &batch, sequences, tokens);
    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
