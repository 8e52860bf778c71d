// What a file is and who may read it, through links.

import Foundation

enum FileMode {
    /// The permission bits; nil where there is no such file.
    static func bits(_ path: String) -> Int? {
        let resolved = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        let attributes = try? FileManager.default.attributesOfItem(atPath: resolved)
        return (attributes?[.posixPermissions] as? NSNumber)?.intValue
    }

    /// Whether only its owner may read or write it; false where there is no such file.
    static func isPrivate(_ path: String) -> Bool { bits(path).map { $0 & 0o077 == 0 } ?? false }

    static func isPlainFile(_ path: String) -> Bool {
        let resolved = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        let attributes = try? FileManager.default.attributesOfItem(atPath: resolved)
        return attributes?[.type] as? FileAttributeType == .typeRegular
    }
}
