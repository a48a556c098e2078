# Completion of latchkey for fish: latchkey completion fish | source

function __latchkey_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for line in ($words[1] complete -- $words[2..-1] "$typed" 2>/dev/null)
        if string match -q ':files*' -- $line
            __fish_complete_path "$typed"
        else
            echo $line
        end
    end
end
complete -c latchkey -f -a '(__latchkey_complete)'
