// The few file-system calls that the store makes itself, each with a fault that names the path.

import Foundation

enum Disk {
    /// Bytes that this user may still write on the file system that holds `path`.
    static func freeBytes(at path: String) -> UInt64? {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else { return nil }
        return UInt64(info.f_bavail) &* UInt64(info.f_frsize)
    }

    static func makeDirectory(_ path: String) throws(StorageFault) {
        if mkdir(path, 0o700) != 0, errno != EEXIST {
            throw .from(errno, "mkdir", path: path)
        }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func size(_ path: String) throws(StorageFault) -> UInt64? {
        var info = stat()
        guard stat(path, &info) == 0 else {
            if errno == ENOENT { return nil }
            throw .from(errno, "stat", path: path)
        }
        return UInt64(max(0, info.st_size))
    }

    /// The names in a folder, sorted, without `.` and `..`.
    static func names(in directory: String) throws(StorageFault) -> [String] {
        guard let handle = opendir(directory) else { throw .from(errno, "opendir", path: directory) }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix(while: { $0 != 0 }), as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Makes a rename or a new name in `directory` durable.
    static func syncDirectory(_ directory: String) throws(StorageFault) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .from(errno, "open", path: directory) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .from(errno, "fsync", path: directory) }
    }

    static func move(_ from: String, to: String) throws(StorageFault) {
        guard rename(from, to) == 0 else { throw .from(errno, "rename", path: from) }
    }

    /// Removes a file or a folder of files; absence is success.
    static func remove(_ path: String) throws(StorageFault) {
        if unlink(path) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM else { throw .from(errno, "unlink", path: path) }
        for name in try names(in: path) { try remove("\(path)/\(name)") }
        guard rmdir(path) == 0 else { throw .from(errno, "rmdir", path: path) }
    }
}
