// The models that tests of serving and of training read: the committed fixtures (versions in Tests/Fixtures/models/README.md),
// the starter, and what the environment names besides.

package import Foundation
package import ModelFiles
package import Primitives

package let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
package let fixtures = repository.appending(path: "Tests/Fixtures/models")
package let starter = repository.appending(path: "Bootstrap/starter")

package func files(of folder: URL) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
        if let data = try? Data(contentsOf: folder.appending(path: name)) { files[name] = [UInt8](data) }
    }
    return files
}

package func folder(_ url: URL) throws -> MemoryFolder { MemoryFolder(try files(of: url)) }

package func json(_ url: URL) throws -> JSONValue {
    try JSONValue.parse([UInt8](Data(contentsOf: url)), limits: .tokenizer)
}

/// Folders of models with references that `serves` takes: the committed ones, those that OPENLEDGER_SHARED holds (each name
/// once), and other seeds and dimensions in the folders that OPENLEDGER_FAMILIES names, separated by colons.
package func modelFolders(where serves: (URL) -> Bool) -> [URL] {
    let environment = ProcessInfo.processInfo.environment
    var roots = [fixtures]
    if let shared = environment["OPENLEDGER_SHARED"] { roots.append(URL(filePath: shared + "/fixtures/models")) }
    roots += (environment["OPENLEDGER_FAMILIES"] ?? "").split(separator: ":").map { URL(filePath: String($0)) }
    var seen: Set<String> = [], found: [URL] = []
    for (index, root) in roots.enumerated() {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
        for name in names.sorted() {
            let url = root.appending(path: name)
            guard FileManager.default.fileExists(atPath: url.appending(path: "reference.json").path), serves(url),
                index > 1 || seen.insert(name).inserted
            else { continue }
            found.append(url)
        }
    }
    return found
}
