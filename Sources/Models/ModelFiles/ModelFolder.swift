/// The files of a model or adapter folder as bytes that somebody else has mapped or read: Inference opens no file.
package protocol ModelFolder: AnyObject {
    /// The bytes of one file, valid while the folder object lives; nil where there is none of that name.
    func bytes(of file: String) -> UnsafeRawBufferPointer?
}

/// A folder held in memory, for what arrives as blocks and for tests.
package final class MemoryFolder: ModelFolder {
    private let files: [String: UnsafeRawBufferPointer]

    package init(_ files: [String: [UInt8]]) {
        self.files = files.mapValues { bytes in
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 64)
            copy.copyBytes(from: bytes)
            return UnsafeRawBufferPointer(copy)
        }
    }

    deinit {
        for buffer in files.values { buffer.deallocate() }
    }

    package func bytes(of file: String) -> UnsafeRawBufferPointer? { files[file] }
}
