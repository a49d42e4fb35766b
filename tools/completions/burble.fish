# SPDX-License-Identifier: MIT
# Completion of the burble command for fish.

function __burble_verb -a verb
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test "$words[2]" = $verb
end

function __burble_no_verb
    test (count (commandline -opc)) -eq 1
end

complete -c burble -f
complete -c burble -s h -l help -d 'Print a summary'
complete -c burble -s V -l version -d 'Print the version'
complete -c burble -n __burble_no_verb -a run -d 'Continue a text with a language model'
complete -c burble -n __burble_no_verb -a tokens -d 'Turn token ids into text'
complete -c burble -n __burble_no_verb -a help -d 'Say what a verb does'

complete -c burble -n '__burble_verb help' -a 'run tokens'

complete -c burble -n '__burble_verb run' -s m -l model -r -k -a '(__fish_complete_suffix .gguf)' -d 'The model'
complete -c burble -n '__burble_verb run' -s p -l prompt -x -d 'The text to continue'
complete -c burble -n '__burble_verb run' -s n -l max-tokens -x -d 'Generate at most so many tokens'
complete -c burble -n '__burble_verb run' -s s -l stop -x -d 'End before this text'
complete -c burble -n '__burble_verb run' -l greedy -d 'Always the likeliest token'
complete -c burble -n '__burble_verb run' -l temperature -x -d 'How flat the choice is'
complete -c burble -n '__burble_verb run' -l top-k -x -d 'Only so many tokens'
complete -c burble -n '__burble_verb run' -l top-p -x -d 'Only the likeliest that make up so much'
complete -c burble -n '__burble_verb run' -l min-p -x -d 'Only those so likely as the likeliest'
complete -c burble -n '__burble_verb run' -l seed -x -d 'Another number, another text'
complete -c burble -n '__burble_verb run' -l repeat-penalty -x -d 'Divide the logits of the last tokens'
complete -c burble -n '__burble_verb run' -l presence-penalty -x -d 'Subtract from them, once'
complete -c burble -n '__burble_verb run' -l frequency-penalty -x -d 'Subtract from them, for each time'
complete -c burble -n '__burble_verb run' -l grammar-file -r -F -d 'Only text of this grammar'
complete -c burble -n '__burble_verb run' -l json-object -d 'Only one JSON object'
complete -c burble -n '__burble_verb run' -l chat -d 'Ask by the chat template'
complete -c burble -n '__burble_verb run' -l system -x -d "The system's message"
complete -c burble -n '__burble_verb run' -l template -x -a 'chatml llama2 llama3 mistral-v7 gemma phi3' -d 'A template of llama.cpp'
complete -c burble -n '__burble_verb run' -l prompts -r -F -d 'A prompt on each line'
complete -c burble -n '__burble_verb run' -l parallel -x -d 'Compute so many at once'
complete -c burble -n '__burble_verb run' -l json -d 'Lines of JSON'
complete -c burble -n '__burble_verb run' -l stats -d 'Say how much was done, and how fast'
complete -c burble -n '__burble_verb run' -s q -l quiet -d 'Only errors and figures on standard error'
complete -c burble -n '__burble_verb run' -l context -x -d 'Tokens of prompt and text together'
complete -c burble -n '__burble_verb run' -l threads -x -d 'Threads that compute'
complete -c burble -n '__burble_verb run' -l prompt-threads -x -d 'The same where prompts are computed, too'
complete -c burble -n '__burble_verb run' -l batch -x -d 'Prompt tokens of one step'
complete -c burble -n '__burble_verb run' -l flash -x -a 'auto on off' -d 'Attention in one pass'
complete -c burble -n '__burble_verb run' -l cache-k -x -a 'f16 f32 bf16 q8_0 q5_1 q5_0 q4_1 q4_0' -d "The type of attention's keys"
complete -c burble -n '__burble_verb run' -l cache-v -x -a 'f16 f32 bf16 q8_0 q5_1 q5_0 q4_1 q4_0' -d "The type of attention's values"
complete -c burble -n '__burble_verb run' -l unified -d 'One memory for all prompts'

complete -c burble -n '__burble_verb tokens' -F
complete -c burble -n '__burble_verb tokens' -s b -l binary -d 'The ids are 32-bit integers'
complete -c burble -n '__burble_verb tokens' -s f -l format -x -a 'auto hf gguf tiktoken sentencepiece tekken' -d 'What the vocabulary is'
complete -c burble -n '__burble_verb tokens' -s k -l skip-special -d 'Leave special tokens out'
complete -c burble -n '__burble_verb tokens' -s c -l clean-up -d 'Take out spaces before punctuation'
complete -c burble -n '__burble_verb tokens' -s s -l stop -x -d 'End before this text'
complete -c burble -n '__burble_verb tokens' -s i -l include-stop -d 'End behind the stop string'
