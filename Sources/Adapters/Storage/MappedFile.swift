// A file mapped for reading: how the engine gets at weights without a second copy in memory.

import Foundation

/// A read-only mapping of a whole file, valid while this object lives. The file must not be cut short by others; files
/// in the blob folder never are: they are written aside, renamed when complete, and unlinked at most.
// @unchecked Sendable: the mapping is read-only and its address and length never change.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    /// The file's bytes, for the engine, which keeps this object for as long as it reads them. Everybody else takes
    /// `span` or `withUnsafeBytes`.
    package let unsafeBytes: UnsafeRawBufferPointer

    package init(path: String) throws(StorageFault) {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .from(errno, "open", path: path) }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw .from(errno, "stat", path: path) }
        guard info.st_size > 0 else {
            unsafeBytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let length = Int(info.st_size)
        guard let address = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0), address != MAP_FAILED else {
            throw .from(errno, "mmap", path: path)
        }
        unsafeBytes = UnsafeRawBufferPointer(start: address, count: length)
    }

    deinit {
        guard let address = unsafeBytes.baseAddress else { return }
        munmap(UnsafeMutableRawPointer(mutating: address), unsafeBytes.count)
    }

    package var byteCount: Int { unsafeBytes.count }

    /// Calls `body` with the bytes; the pointer is not to leave it.
    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(unsafeBytes)
    }

    /// The bytes as a span whose lifetime is this object's.
    package var span: RawSpan {
        @_lifetime(borrow self)
        get { _overrideLifetime(RawSpan(_unsafeBytes: unsafeBytes), borrowing: self) }
    }
}
