package workspace

import "golang.org/x/sys/unix"

// isInMemory reports whether a directory is on a file system that has no disk.
func isInMemory(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, err
	}
	kind := uint32(st.Type) // which is signed on some machines
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC, nil
}
