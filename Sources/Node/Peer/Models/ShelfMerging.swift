// Adapters merged into their base: a model of its own, with its own CID. The same parts give the same bytes.

import Foundation
import Inference
import ModelFiles
import Primitives
import Records
import Storage

extension ModelShelf {
    /// Blocking, for as long as disk and engine take. The new model lies in a folder beside the blobs until it is on the
    /// shelf.
    func importMerged(
        base: CID, adapters: [(adapter: CID, weight: Double)], name: String
    ) throws(ShelfFault) -> (CID, FolderManifest) {
        guard let entry = entry(base), entry.kind == .model else { throw .baseMissing(base) }
        guard !entry.folder.files.contains(where: { $0.name == GGUFFile.name }) else {
            throw .model(
                .unsupported(file: GGUFFile.name, feature: "merging: import the model's Hugging Face folder for that;"))
        }
        let source = try folder(base)
        var parts: [(folder: any ModelFolder, weight: Double)] = []
        for part in adapters { parts.append((try folder(part.adapter), part.weight)) }
        let merged = try inModel { () throws(ModelFault) in try MergedModel(base: source, adapters: parts) }
        let path = "\(NSTemporaryDirectory())/openledger-merge-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            for file in entry.folder.files where !file.name.contains(".safetensors") {
                guard let bytes = source.bytes(of: file.name) else { continue }
                try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(file.name)"))
            }
            let weights = "\(path)/\(MergedModel.file)"
            guard FileManager.default.createFile(atPath: weights, contents: nil),
                let handle = FileHandle(forWritingAtPath: weights)
            else { throw ShelfFault.folder(path: weights, reason: "cannot be written") }
            defer { try? handle.close() }
            try merged.write { (piece: UnsafeRawBufferPointer) throws(any Error) in
                try handle.write(contentsOf: Data(piece))
            }
        } catch let fault as ShelfFault {
            throw fault
        } catch {
            throw .folder(path: path, reason: "cannot be written: \(error.localizedDescription)")
        }
        return try importFolder(path: path, kind: .model, name: name)
    }
}
