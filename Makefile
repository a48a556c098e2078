# The shipped programs: static, without the paths of the machine that built
# them, and with the experiment that lets Go erase a key it has used. The tag
# leaves the CLI library's Markdown writer out.
SHIPPED  = CGO_ENABLED=0 GOEXPERIMENT=runtimesecret
GOFLAGS := -trimpath -tags=urfave_cli_no_docs
FUZZTIME = 10s
export GOFLAGS

.PHONY: build demo test deps vet race erase bench fuzz clean

build: # bin/latchkey and bin/latchkeyd
	$(SHIPPED) go build -ldflags='-s -w' -o bin/ ./cmd/...
	@go version -m bin/latchkey | grep -q X:runtimesecret || { echo "bin/latchkey: built without runtimesecret"; exit 1; }

demo: build # the main job, for real, in a temporary directory
	@go run ./test/demo bin

test: deps vet race erase # everything

deps: # what the tests need beyond Go: installed where it may be, else named
	@sh test/deps.sh

vet:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	go vet ./...

race:
	go test -race -shuffle=on -timeout=30m ./...

erase: # the packages that hold keys, built as they are shipped: they erase, and are confined by Landlock
	$(SHIPPED) go test -shuffle=on ./internal/harden ./workspace ./cmd/latchkeyd

bench: build # speed, as ratios of two things measured side by side
	$(SHIPPED) go test -run='^$$' -bench=. -benchtime=1s ./sshagent ./sqlstore ./keyserver ./test

fuzz: # every fuzz test for FUZZTIME
	@sh test/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin
