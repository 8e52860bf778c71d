// A model folder as the engine reads it: large files mapped from the blob folder or from this machine's disk, small ones
// copied out of the table.

import Foundation
import Inference
import ModelFiles
import Primitives
package import Records
package import Storage

package final class MappedFolder: ModelFolder {
    private let mapped: [String: MappedFile]
    private let copied: MemoryFolder

    /// The files of a manifest that are complete here.
    package init(_ manifest: FolderManifest, in blobs: BlobStore) throws(ShelfFault) {
        var mapped: [String: MappedFile] = [:]
        var small: [String: [UInt8]] = [:]
        for file in manifest.files {
            let isFile = try onDisk { () throws(StorageFault) in try blobs.file(file.root) != nil }
            if isFile {
                mapped[file.name] = try onDisk { () throws(StorageFault) in try blobs.map(file.root) }
            } else {
                let bytes = try onDisk { () throws(StorageFault) in try blobs.block(file.root) }
                guard let bytes, file.root.codec == .raw else {
                    throw .incomplete(name: file.name, missing: file.root)
                }
                small[file.name] = bytes
            }
        }
        self.mapped = mapped
        copied = MemoryFolder(small)
    }

    /// Files of this machine.
    init(_ files: [(name: String, path: String)]) throws(ShelfFault) {
        var mapped: [String: MappedFile] = [:]
        for file in files {
            mapped[file.name] = try onDisk { () throws(StorageFault) in try MappedFile(path: file.path) }
        }
        self.mapped = mapped
        copied = MemoryFolder([:])
    }

    /// Waits for the disk now rather than page by page later. A wish: an older Linux refuses it, other systems have none.
    func populate() {
        #if os(Linux)
        let readable: Int32 = 22  // MADV_POPULATE_READ of Linux 5.14
        for file in mapped.values {
            guard let address = file.unsafeBytes.baseAddress else { continue }
            _ = madvise(UnsafeMutableRawPointer(mutating: address), file.unsafeBytes.count, readable)
        }
        #endif
    }

    /// Gives back the memory of what was read and is not read again; the kernel's cache keeps it, and whoever reads it all the
    /// same has it from there. Linux maps by up to 2 MiB what a page of is touched.
    func release() {
        for file in mapped.values {
            guard let address = file.unsafeBytes.baseAddress else { continue }
            _ = madvise(UnsafeMutableRawPointer(mutating: address), file.unsafeBytes.count, Int32(MADV_DONTNEED))
        }
    }

    package func bytes(of file: String) -> UnsafeRawBufferPointer? {
        mapped[file]?.unsafeBytes ?? copied.bytes(of: file)
    }
}
