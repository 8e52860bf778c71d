import Arithmetic
import BlockExchange
import Foundation
import Primitives
import Records
import Storage
import Testing

@testable import Peer

@Suite struct ModelShelfTests {
    @Test func importsWhatItHashes() throws {
        let home = try TestHome()
        let model: CID, adapter: CID
        do {
            let open = try home.open()
            let (cid, manifest) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
            let hashed = try FolderHasher.manifest(path: Starter.model, kind: .model, name: "starter", base: nil)
            #expect(hashed.manifest == manifest && manifest.cid == cid)
            #expect(hashed.files.map(\.name) == manifest.files.map(\.name))
            #expect(
                manifest.files.contains { $0.root.codec == .dagPB } && manifest.files.contains { $0.bytes < 65_536 })
            (adapter, _) = try open.shelf.importFolder(
                path: Starter.adapter, kind: .adapter, name: "food", base: cid)
            model = cid
            #expect(throws: ShelfFault.self) { try open.shelf.remove(cid) }
            // A second import changes nothing.
            #expect(try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter").0 == cid)
        }
        let open = try home.open()
        #expect(open.shelf.list().map(\.manifest) == [adapter, model])
        let entry = try #require(open.shelf.entry(model))
        #expect(entry.parameters == 5_475_584 && entry.contextLength == 1024 && entry.family == "llama")
        let food = try #require(open.shelf.entry(adapter))
        #expect(food.rank == 8 && food.alpha == 16 && food.folder.base == model)
        try open.shelf.remove(adapter)
        try open.shelf.remove(model)
        #expect(open.shelf.list().isEmpty)
        #expect(try entry.folder.files.allSatisfy { file in try !open.blobs.has(file.root) })
        #expect(throws: ShelfFault.self) { _ = try open.shelf.folder(model) }
    }

    /// What was asked at import lasts, through restarts and imports that ask nothing.
    @Test func modelsHaveAPrecision() throws {
        let home = try TestHome()
        let model: CID
        do {
            let open = try home.open()
            (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
            #expect(open.shelf.entry(model)?.precision == nil)
            _ = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter", precision: .int4)
            #expect(open.shelf.entry(model)?.precision == .int4)
        }
        let open = try home.open()
        #expect(open.shelf.entry(model)?.precision == .int4)
        _ = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        #expect(open.shelf.entry(model)?.precision == .int4)
        let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
        let service = InferenceService(
            shelf: open.shelf, library: Library(read: { _ in nil }, datanet: { _ in nil }),
            book: try AdapterBook(store: nil), peer: peer, precision: "bf16")
        #expect(service.precision(of: model) == .int4)
        try open.shelf.setPrecision(nil, of: model)
        #expect(open.shelf.entry(model)?.precision == nil && service.precision(of: model) == .bf16)
        #expect(throws: ShelfFault.self) { try open.shelf.setPrecision(.f32, of: CID(.raw, hashing: [])) }
        // A GGUF of blocks that are ours is served in them.
        let folder = URL(filePath: Starter.folder).appending(path: "../../Tests/Fixtures/gguf").standardized.path
        for (kind, precision) in [("q8_0", Precision.int8), ("q4_0", .int4)] {
            let (cid, _) = try open.shelf.importFolder(
                path: "\(folder)/llama3-\(kind).gguf", kind: .model, name: kind)
            #expect(open.shelf.entry(cid)?.precision == precision)
        }
    }

    /// Homes of before models had one of their own.
    @Test func linesWithoutAPrecisionAreRead() throws {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(1)), ("parameters", .unsigned(5)), ("context", .unsigned(7)), ("family", .text("llama")),
        ]
        #expect(try ModelShelf.decode(CBOR.map(pairs).encoded()).precision == nil)
        pairs.append(("precision", .text("int4")))
        #expect(try ModelShelf.decode(CBOR.map(pairs).encoded()).precision == .int4)
        pairs[4].1 = .text("int3")
        #expect(throws: CBORFault.self) { try ModelShelf.decode(CBOR.map(pairs).encoded()) }
    }

    /// Blocks come in any order and a run ends in the middle: what came is there, and the folder is the same in the end.
    @Test func takesAPullAcrossRuns() throws {
        let source = try TestHome(), home = try TestHome()
        let from = try source.open()
        let (cid, manifest) = try from.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        var wanted = [cid]
        for file in manifest.files {
            wanted.append(file.root)
            guard file.root.codec == .dagPB, let bytes = try from.blobs.block(file.root) else { continue }
            wanted += try FileNode(decoding: bytes).parts.map(\.cid)
        }
        let half = wanted.count / 2
        do {
            let open = try home.open()
            for cid in wanted[..<half] { try open.shelf.keeper.keep(cid, try #require(try from.blobs.block(cid))) }
            #expect(throws: ShelfFault.self) { try open.shelf.complete(manifest: cid) }
        }
        do {
            let open = try home.open()
            for cid in wanted[..<half] { #expect(try open.blobs.has(cid)) }
            for cid in wanted[half...].reversed() {
                try open.shelf.keeper.keep(cid, try #require(try from.blobs.block(cid)))
            }
            #expect(try open.shelf.complete(manifest: cid) == manifest)
            #expect(try open.shelf.complete(manifest: cid) == manifest)
            #expect(try open.blobs.unfinished().isEmpty)
        }
        let open = try home.open()
        #expect(open.shelf.entry(cid)?.folder == manifest)
        let (one, other) = (try from.shelf.folder(cid), try open.shelf.folder(cid))
        for file in manifest.files {
            let left = try #require(one.bytes(of: file.name)), right = try #require(other.bytes(of: file.name))
            #expect(left.elementsEqual(right))
        }
        for cid in wanted { #expect(try open.blobs.has(cid)) }
    }

    /// The node comes after its leaves: each was a file of its own, and they are put together.
    @Test func putsLeavesTogether() throws {
        let home = try TestHome()
        let open = try home.open()
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let (file, blocks) = FileBuilder.build(bytes, chunkBytes: 100_000, linksMax: 2)
        for block in blocks { try open.shelf.keeper.keep(block.cid, block.bytes) }
        try open.shelf.keeper.finish(file.root, bytes: 300_000, name: "x")
        #expect(try open.blobs.map(file.root).withUnsafeBytes { $0.elementsEqual(bytes) })
    }

    @Test func theTreeIsFileBuilders() {
        for count in [0, 1, 2, 1024, 1025, 2049] {
            let bytes = [UInt8](repeating: 7, count: count)
            let (file, blocks) = FileBuilder.build(bytes, chunkBytes: 1)
            let leaves = bytes.map { FileNode.Part(cid: CID(.raw, hashing: [$0]), size: 1, totalSize: 1) }
            let made = FileTree.root(above: leaves)
            #expect(made.root == file.root && made.nodes == blocks.filter { $0.cid.codec == .dagPB || count == 0 })
        }
    }

    /// What a stranger sends is kept or left, and nothing stops.
    @Test func strangeNodesDoNoHarm() throws {
        let home = try TestHome()
        let open = try home.open()
        let leaf = Block(.raw, [UInt8](repeating: 1, count: 70_000))
        let lying = FileNode(
            parts: [100_000, 100_000, 1].map { FileNode.Part(cid: leaf.cid, size: $0, totalSize: $0) })
        let node = Block(.dagPB, lying.encoded())
        for block in [node, Block(.dagPB, [1, 2, 3]), leaf] { try open.shelf.keeper.keep(block.cid, block.bytes) }
        #expect(try open.blobs.block(leaf.cid) == leaf.bytes)
        #expect(throws: ShelfFault.self) { try open.shelf.keeper.finish(node.cid, bytes: 200_001, name: "x") }
    }

    @Test func refusesWhatTheEngineRefuses() throws {
        let home = try TestHome(), folder = try TestHome()
        let open = try home.open()
        #expect(throws: ShelfFault.self) {
            try open.shelf.importFolder(path: folder.path, kind: .model, name: "empty")
        }
        for (name, text) in [("config.json", #"{"model_type":"mamba"}"#), ("model.safetensors", "x")] {
            try Data(text.utf8).write(to: URL(filePath: "\(folder.path)/\(name)"))
        }
        #expect(throws: ShelfFault.self) {
            try open.shelf.importFolder(path: folder.path, kind: .model, name: "mamba")
        }
        #expect(throws: ShelfFault.self) {
            try open.shelf.importFolder(
                path: Starter.adapter, kind: .adapter, name: "food", base: CID(.raw, hashing: []))
        }
        #expect(open.shelf.list().isEmpty)
    }
}
