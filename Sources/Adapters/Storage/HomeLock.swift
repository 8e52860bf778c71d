// One home, one peer. Two processes on one LMDB file would be safe, but two peers with one key are not: they would sign
// against each other. The lock is an flock on `lock` in the home; the kernel drops it when the process ends, however it
// ends, so a kill -9 leaves no stale lock. The file holds the owner's pid for the message that the second peer prints.

import Foundation

/// Holds a home for this process until it is released by `deinit`.
package final class HomeLock: Sendable {
    private let descriptor: Int32
    package let path: String

    /// Throws `homeLocked` with the other's pid when the home is in use, by this process or another.
    package init(home: String) throws(StorageFault) {
        try Disk.makeDirectory(home)
        path = "\(home)/lock"
        let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw .from(errno, "open", path: path) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            defer { close(opened) }
            guard code == EWOULDBLOCK else { throw .from(code, "flock", path: path) }
            throw .homeLocked(path: home, pid: Self.readPid(opened))
        }
        descriptor = opened
        let text = Array("\(getpid())\n".utf8)
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, text, text.count, 0) == text.count else {
            throw .from(errno, "write", path: path)
        }
    }

    deinit {
        // Emptied so that nobody reads the pid of a process that is gone; then the kernel lets the next one in.
        _ = ftruncate(descriptor, 0)
        close(descriptor)
    }

    private static func readPid(_ descriptor: Int32) -> Int32? {
        var buffer = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return nil }
        return Int32(String(decoding: buffer[..<count].prefix(while: { $0 != 10 }), as: UTF8.self))
    }
}
