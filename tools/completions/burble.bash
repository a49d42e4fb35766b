# SPDX-License-Identifier: MIT
# Completion of the burble command for bash.

_burble() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    local options
    COMPREPLY=()
    # In --option=word, bash makes three words of it.
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'run tokens help --help --version' -- "$word")
        return
    fi
    case $verb in
    help)
        mapfile -t COMPREPLY < <(compgen -W 'run tokens' -- "$word")
        return
        ;;
    run)
        options='--model --prompt --max-tokens --stop --greedy --temperature --top-k --top-p --min-p
            --seed --repeat-penalty --presence-penalty --frequency-penalty --grammar-file --json-object
            --chat --system --template --prompts --parallel --json --stats --quiet --context
            --threads --prompt-threads --batch --flash --cache-k --cache-v --unified --help --version'
        ;;
    tokens)
        options='--binary --format --skip-special --clean-up --stop --include-stop --help --version'
        ;;
    *)
        return
        ;;
    esac
    case $verb$before in
    run-m | run--model)
        mapfile -t COMPREPLY < <(compgen -f -X '!*.gguf' -- "$word"; compgen -d -S / -- "$word")
        compopt -o filenames -o nospace 2>/dev/null
        ;;
    run--prompts | run--grammar-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        ;;
    run--template)
        mapfile -t COMPREPLY < <(compgen -W 'chatml llama2 llama3 mistral-v7 gemma phi3' -- "$word")
        ;;
    run--flash)
        mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$word")
        ;;
    run--cache-[kv])
        mapfile -t COMPREPLY < <(compgen -W 'f16 f32 bf16 q8_0 q5_1 q5_0 q4_1 q4_0' -- "$word")
        ;;
    tokens-f | tokens--format)
        mapfile -t COMPREPLY < <(compgen -W 'auto hf gguf tiktoken sentencepiece tekken' -- "$word")
        ;;
    run-[pns] | run--prompt | run--max-tokens | run--stop | run--temperature | run--top-[kp] | \
        run--min-p | run--seed | run--repeat-penalty | run--presence-penalty | run--frequency-penalty | \
        run--system | run--parallel | run--context | run--threads | run--prompt-threads | run--batch | \
        tokens-s | tokens--stop) ;;
    *)
        if [[ $word == -* || $verb == run ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames 2>/dev/null
        fi
        ;;
    esac
}
complete -F _burble burble
