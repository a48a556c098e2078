# Completion of latchkey for bash: source <(latchkey completion bash)

_latchkey() {
	local cur=${COMP_WORDS[COMP_CWORD]} word
	COMPREPLY=()
	while IFS=$'\t' read -r word _; do
		if [ "$word" = :files ]; then
			compopt -o filenames 2>/dev/null
			while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
		else
			COMPREPLY+=("$word")
		fi
	done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _latchkey latchkey
