#!/bin/sh
# Runs every fuzz test of the tree for a time: fuzz.sh 10s
set -eu
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$1" "$package"
	done
done
