#compdef latchkey
# Completion of latchkey for zsh: source <(latchkey completion zsh), behind compinit.

_latchkey() {
	local -a candidates
	local word about files
	while IFS=$'\t' read -r word about; do
		if [[ $word == :files ]]; then
			files=1
		else
			candidates+=("${word//:/\\:}${about:+:$about}")
		fi
	done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	[[ -n $files ]] && _files
	(( ${#candidates} )) && _describe -t latchkey latchkey candidates
}

if [[ $funcstack[1] == _latchkey ]]; then
	_latchkey "$@" # autoloaded from a directory of fpath
else
	compdef _latchkey latchkey
fi
