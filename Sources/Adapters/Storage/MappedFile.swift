// A file mapped for reading: how the engine gets at weights without a second copy in memory.

import Foundation

/// A read-only mapping of a whole file, valid while this object lives. The file must not be cut short by others; files
/// in the blob folder never are: they are written aside, renamed when complete, and unlinked at most.
// @unchecked Sendable: the mapping is read-only and its address and length never change.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    /// The file's bytes; the pointer must not outlive this object.
    package let bytes: UnsafeRawBufferPointer

    package init(path: String) throws(StorageFault) {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .from(errno, "open", path: path) }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw .from(errno, "stat", path: path) }
        guard info.st_size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let length = Int(info.st_size)
        guard let address = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0), address != MAP_FAILED else {
            throw .from(errno, "mmap", path: path)
        }
        bytes = UnsafeRawBufferPointer(start: address, count: length)
    }

    deinit {
        guard let address = bytes.baseAddress else { return }
        munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
    }

    /// The bytes as a span whose lifetime is this object's.
    package var span: RawSpan {
        @_lifetime(borrow self)
        get { _overrideLifetime(RawSpan(_unsafeBytes: bytes), borrowing: self) }
    }
}
