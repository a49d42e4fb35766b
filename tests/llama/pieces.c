/* SPDX-License-Identifier: MIT
 *
 * What llama_token_to_piece says of every id of a file's vocabulary, for test_pieces.py: for each, with special
 * tokens and without, the length in 4 bytes and the piece.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <llama.h>

static void be_quiet(enum ggml_log_level level, const char *text, void *unused)
{
    (void)level, (void)text, (void)unused;
}

static void write_piece(const struct llama_vocab *vocab, llama_token id, bool special)
{
    static char piece[1 << 16];
    const int32_t n = llama_token_to_piece(vocab, id, piece, sizeof piece, 0, special);
    if (n < 0) {
        fprintf(stderr, "pieces: token %d has %d bytes\n", id, -n);
        exit(1);
    }
    fwrite(&n, sizeof n, 1, stdout);
    fwrite(piece, 1, (size_t)n, stdout);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: pieces FILE.gguf\n");
        return 2;
    }
    llama_log_set(be_quiet, NULL);
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(argv[1], params);
    if (model == NULL) {
        fprintf(stderr, "pieces: llama.cpp cannot load %s\n", argv[1]);
        return 1;
    }
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); id++) {
        write_piece(vocab, id, true);
        write_piece(vocab, id, false);
    }
    llama_model_free(model);
    return 0;
}
