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
        mapfile -t COMPREPLY < <(compgen -W 'relay run serve tokens work help --help --version' -- "$word")
        return
    fi
    case $verb in
    help)
        mapfile -t COMPREPLY < <(compgen -W 'relay run serve tokens work' -- "$word")
        return
        ;;
    run)
        options='--model --prompt --max-tokens --stop --greedy --temperature --top-k --top-p --min-p
            --typical-p --mirostat --mirostat-tau --mirostat-eta
            --seed --repeat-penalty --presence-penalty --frequency-penalty --repeat-last-n
            --dry-multiplier --dry-base --dry-allowed-length --dry-last-n --grammar-file --json-object
            --chat --system --template --prompts --parallel --json --logprobs --stats --quiet
            --context --threads --prompt-threads --batch --flash --cache-k --cache-v --unified --help --version'
        ;;
    serve)
        options='--model --host --port --allowed-hosts --api-key-file --cors --no-page --config --slots --context --queue
            --threads --prompt-threads --batch --prompt-ms --flash --cache-k --cache-v --unified
            --gpu-layers --overcommit --redis --redis-prefix --name --lease --away --attempts
            --idle-attempts --max-connections --max-connections-key --max-header --max-body
            --max-bodies --max-json-depth --max-output --socket-buffer --max-ignored --max-answer
            --max-lag --retain --loops --backlog --backend-threads --header-timeout --body-timeout --body-rate
            --idle-timeout --stall-timeout --output-rate --first-timeout --ping-interval --resume-time
            --drain-delay --grace --log-format --log-prompts --quiet --help --version'
        ;;
    work)
        options='--model --config --slots --context --threads --prompt-threads --batch --prompt-ms --flash
            --cache-k --cache-v --unified --gpu-layers --overcommit --redis --redis-prefix --name --lease
            --away --attempts --idle-attempts --max-pending --retain --stall --resume-time --grace
            --log-format --log-prompts --quiet --help --version'
        ;;
    relay)
        options='--prefix --json --help --version'
        ((COMP_CWORD == 2)) && options="status $options"
        ;;
    tokens)
        options='--binary --format --skip-special --clean-up --stop --include-stop --help --version'
        ;;
    *)
        return
        ;;
    esac
    case $verb$before in
    run-m | run--model | serve-m | serve--model | work-m | work--model)
        mapfile -t COMPREPLY < <(compgen -f -X '!*.gguf' -- "$word"; compgen -d -S / -- "$word")
        compopt -o filenames -o nospace 2>/dev/null
        ;;
    run--prompts | run--grammar-file | serve--api-key-file | serve--config | work--config)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        ;;
    run--template)
        mapfile -t COMPREPLY < <(compgen -W 'chatml llama2 llama3 mistral-v7 gemma phi3' -- "$word")
        ;;
    run--flash | serve--flash | work--flash)
        mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$word")
        ;;
    run--cache-[kv] | serve--cache-[kv] | work--cache-[kv])
        mapfile -t COMPREPLY < <(compgen -W 'f16 f32 bf16 q8_0 q5_1 q5_0 q4_1 q4_0' -- "$word")
        ;;
    serve--log-format | work--log-format)
        mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word")
        ;;
    serve--host)
        mapfile -t COMPREPLY < <(compgen -W '127.0.0.1 0.0.0.0' -- "$word")
        ;;
    tokens-f | tokens--format)
        mapfile -t COMPREPLY < <(compgen -W 'auto hf gguf tiktoken sentencepiece tekken' -- "$word")
        ;;
    run-[pns] | run--prompt | run--max-tokens | run--stop | run--temperature | run--top-[kp] | \
        run--min-p | run--seed | run--repeat-penalty | run--presence-penalty | run--frequency-penalty | \
        run--typical-p | run--mirostat | run--mirostat-tau | run--mirostat-eta | run--repeat-last-n | \
        run--dry-multiplier | run--dry-base | run--dry-allowed-length | run--dry-last-n | \
        run--system | run--parallel | run--logprobs | run--context | run--threads | run--prompt-threads | run--batch | \
        serve--port | serve--allowed-hosts | serve--cors | serve--slots | serve--context | serve--queue | \
        serve--threads | serve--prompt-threads | serve--batch | serve--prompt-ms | \
        serve--gpu-layers | serve--max-connections | serve--max-connections-key | \
        serve--max-header | serve--max-body | serve--max-bodies | serve--max-json-depth | \
        serve--max-output | serve--socket-buffer | serve--max-ignored | serve--max-answer | \
        serve--max-lag | serve--retain | serve--loops | serve--backlog | serve--backend-threads | \
        serve--header-timeout | serve--body-timeout | serve--body-rate | serve--idle-timeout | \
        serve--stall-timeout | serve--output-rate | serve--first-timeout | serve--ping-interval | \
        serve--resume-time | serve--drain-delay | serve--grace | \
        serve--redis | serve--redis-prefix | serve--name | serve--lease | serve--away | \
        serve--attempts | serve--idle-attempts | work--slots | work--context | work--threads | \
        work--prompt-threads | work--batch | work--prompt-ms | work--gpu-layers | work--redis | \
        work--redis-prefix | work--name | work--lease | work--away | work--attempts | \
        work--idle-attempts | work--max-pending | work--retain | work--stall | \
        work--resume-time | work--grace | relay--prefix | \
        tokens-s | tokens--stop) ;;
    *)
        if [[ $word == -* || $verb != tokens ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames 2>/dev/null
        fi
        ;;
    esac
}
complete -F _burble burble
