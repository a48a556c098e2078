package harden

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// freeProgram gives back the pages of this program's file that the kernel has
// mapped: those of its code and its constants, which are as they are in the file
// and come back when they are used, from the page cache. The kernel maps many
// around each that is used (in whole folios, on ext4 since Linux 6.16), so that a
// process that does little has nearly all of its file mapped.
func freeProgram() {
	for _, m := range programMappings() {
		unix.Madvise(m, unix.MADV_DONTNEED) // that it can't is no loss
	}
}

// programMappings are the parts of the address space that are mapped from the
// program's file and that nothing writes to.
var programMappings = sync.OnceValue(func() (list [][]byte) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	file, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(maps) { // 00400000-009ec000 r-xp 00000000 fe:00 1059 /usr/bin/latchkey
		f := strings.Fields(string(line))
		if len(f) < 6 || strings.Join(f[5:], " ") != file || f[1] != "r-xp" && f[1] != "r--p" {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		begin, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil || end <= begin {
			continue
		}
		list = append(list, unsafe.Slice((*byte)(addressOf(begin)), end-begin))
	}
	return list
})

// addressOf is a pointer to what is no object of Go's.
func addressOf(address uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }
