// A folder of large files that can be made again: written aside, synced and renamed, mapped to be read, the least recently
// used gone first. What is missing or was cut short by a crash is made again; nothing here is anybody's only copy.

import Foundation

package final class CacheFolder: Sendable {
    package let path: String
    private let filesMax: Int
    /// Left free on the disk.
    private let reserveBytes: UInt64
    private static let partial = ".partial"

    /// - Parameter path: made where it is not there; half-written files in it are removed.
    package init(path: String, filesMax: Int, reserveBytes: UInt64) throws(StorageFault) {
        self.path = path
        self.filesMax = max(1, filesMax)
        self.reserveBytes = reserveBytes
        try Disk.makeDirectory(path)
        for name in try Disk.names(in: path) where name.hasSuffix(Self.partial) { try Disk.remove("\(path)/\(name)") }
    }

    /// Nil where there is none.
    package func map(_ name: String) throws(StorageFault) -> MappedFile? {
        let file = "\(path)/\(name)"
        guard Disk.exists(file) else { return nil }
        // When it was last read: what `makeRoom` goes by.
        utimes(file, nil)
        return try MappedFile(path: file)
    }

    package func contains(_ name: String) -> Bool { Disk.exists("\(path)/\(name)") }

    package func remove(_ name: String) throws(StorageFault) { try Disk.remove("\(path)/\(name)") }

    package func names() throws(StorageFault) -> [String] { try Disk.names(in: path) }

    /// Writes a file whole or not at all. Blocking.
    /// - Returns: false where the disk has no room for it; nothing is written then.
    package func write(
        _ name: String, bytes: UInt64,
        _ body: (_ write: (UnsafeRawBufferPointer) throws(StorageFault) -> Void)
            throws(StorageFault) -> Void
    ) throws(StorageFault) -> Bool {
        try makeRoom()
        guard let free = Disk.freeBytes(at: path), free > reserveBytes, free - reserveBytes > bytes else {
            return false
        }
        let file = "\(path)/\(name)", aside = file + Self.partial
        try Disk.remove(aside)
        let descriptor = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .from(errno, "open", path: aside) }
        do throws(StorageFault) {
            defer { close(descriptor) }
            try body { buffer throws(StorageFault) in
                var rest = buffer[...]
                while let base = UnsafeRawBufferPointer(rebasing: rest).baseAddress, !rest.isEmpty {
                    let written = Foundation.write(descriptor, base, rest.count)
                    if written < 0, errno == EINTR { continue }
                    guard written > 0 else { throw .from(errno, "write", path: aside) }
                    rest = rest.dropFirst(written)
                }
            }
            guard fsync(descriptor) == 0 else { throw .from(errno, "fsync", path: aside) }
        } catch {
            unlink(aside)
            throw error
        }
        try Disk.move(aside, to: file)
        try Disk.syncDirectory(path)
        return true
    }

    /// Removes what was read longest ago, until one more fits.
    private func makeRoom() throws(StorageFault) {
        var files: [(used: Int, name: String)] = []
        for name in try Disk.names(in: path) where !name.hasSuffix(Self.partial) {
            var info = stat()
            if stat("\(path)/\(name)", &info) == 0 { files.append((Int(info.st_mtim.tv_sec), name)) }
        }
        files.sort { $0 < $1 }
        while files.count >= filesMax { try Disk.remove("\(path)/\(files.removeFirst().name)") }
    }
}
