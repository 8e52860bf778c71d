// A model or adapter folder on this machine, as the manifest that it would have: which of its files belong, and their
// roots. Hashing and importing share `FolderFiles`, so both name the same files; the tree above the leaves depends on the
// bytes alone.

import Attribution
import BlockExchange
import Foundation
import ModelFiles
package import Primitives
package import Records
import Training

/// Which files of a folder belong to a model or an adapter. Others (a README, optimiser states) are left out.
enum FolderFiles {
    static func belongs(_ name: String, to kind: FolderKind) -> Bool {
        guard FolderFile.isPlain(name) else { return false }
        let isWeights = name.hasSuffix(".safetensors") || name.hasSuffix(".safetensors.index.json")
        switch kind {
        case .model:
            let plain = [
                "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                "generation_config.json", "modules.json", "sentence_bert_config.json", "vocab.txt", GGUFFile.name,
            ]
            return plain.contains(name) || (isWeights && !name.hasPrefix("adapter_"))
        case .adapter:
            return ["adapter_config.json", TrainingManifest.fileName, InfluenceIndex.fileName].contains(name)
                || isWeights
        }
    }

    /// The folder's files that belong, ascending by name. A GGUF, given by itself or alone in a folder, is a folder of one
    /// file.
    static func list(_ path: String, kind: FolderKind) throws(ShelfFault) -> [(name: String, path: String)] {
        if kind == .model, path.hasSuffix(".gguf"), FileMode.isPlainFile(path) { return [(GGUFFile.name, path)] }
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: path)
        } catch {
            throw .folder(path: path, reason: "cannot be read as a folder: \(error.localizedDescription)")
        }
        let files = names.filter { belongs($0, to: kind) }.sorted().map { (name: $0, path: "\(path)/\($0)") }
            // Through links: a Hugging Face cache is made of them.
            .filter { FileMode.isPlainFile($0.path) }
        guard files.count <= FolderManifest.filesMax else {
            throw .folder(path: path, reason: "has more than \(FolderManifest.filesMax) files")
        }
        let packed = names.filter { $0.hasSuffix(".gguf") }
        if kind == .model, !files.contains(where: { $0.name == "config.json" }), let name = packed.first {
            guard packed.count == 1 else {
                throw .folder(path: path, reason: "has \(packed.count) GGUF files; name the one that is meant")
            }
            return [(GGUFFile.name, "\(path)/\(name)")]
        }
        let needed = kind == .model ? "config.json" : "adapter_config.json"
        guard files.contains(where: { $0.name == needed }) else {
            throw .folder(path: path, reason: "has no \(needed): it is no \(kind.rawValue) in the Hugging Face layout")
        }
        guard files.contains(where: { $0.name.hasSuffix(".safetensors") }) else {
            throw .folder(path: path, reason: "has no *.safetensors file with the weights")
        }
        return files
    }
}

package enum FolderHasher {
    /// Bytes read at a time; no bearing on the result.
    private static let readBytes = 1 << 20

    /// The manifest that importing the folder would give. Reads every byte; writes nothing.
    package static func manifest(
        path: String, kind: FolderKind, name: String, base: CID?
    ) throws(ShelfFault) -> (manifest: FolderManifest, files: [(name: String, path: String)]) {
        let files = try FolderFiles.list(path, kind: kind)
        var hashed: [FolderFile] = []
        for (name, path) in files {
            let file = try root(of: path)
            hashed.append(FolderFile(name: name, root: file.root, bytes: file.size))
        }
        return (try checked(FolderManifest(kind: kind, name: name, base: base, files: hashed), path: path), files)
    }

    /// Refuses what a peer would refuse to read.
    static func checked(_ manifest: FolderManifest, path: String) throws(ShelfFault) -> FolderManifest {
        guard !manifest.name.isEmpty, manifest.name.utf8.count <= FolderManifest.nameBytesMax else {
            throw .folder(path: path, reason: "its name must have 1 to \(FolderManifest.nameBytesMax) bytes")
        }
        do {
            return try FolderManifest(decoding: manifest.encoded())
        } catch {
            throw .folder(path: path, reason: "\(error)")
        }
    }

    private static func root(of path: String) throws(ShelfFault) -> FileBuilder.File {
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw .folder(path: path, reason: "cannot be opened")
        }
        defer { try? handle.close() }
        var builder = FileBuilder()
        while true {
            let piece: Data?
            do {
                piece = try handle.read(upToCount: readBytes)
            } catch {
                throw .folder(path: path, reason: "cannot be read: \(error.localizedDescription)")
            }
            guard let piece, !piece.isEmpty else { break }
            _ = builder.append([UInt8](piece))
        }
        return builder.finish().file
    }
}
