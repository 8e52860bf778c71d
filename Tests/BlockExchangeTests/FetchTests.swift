import Primitives
import Testing

@testable import BlockExchange

@Suite struct FetchTests {
    /// Runs a fetch against blocks that neighbours have; returns what it did last, and all effects.
    private func run(
        _ root: CID, has blocks: [CID: [UInt8]], parameters: FetchParameters = FetchParameters(),
        inspect: (Fetch) -> Void = { _ in }
    ) -> (last: FetchEffect?, all: [FetchEffect]) {
        var fetch = Fetch(root: root, parameters: parameters)
        var store: [CID: [UInt8]] = [:]
        var queue = fetch.handle(.start)
        var all: [FetchEffect] = []
        while !queue.isEmpty {
            let effect = queue.removeFirst()
            all.append(effect)
            switch effect {
            case .look(let cid, let needsBytes):
                queue += fetch.handle(
                    .local(cid, store[cid].map { needsBytes ? .bytes($0) : .present } ?? .absent))
            case .want(let cids):
                for cid in cids {
                    if let bytes = blocks[cid], let block = Block(cid, verifying: bytes) {
                        queue += fetch.handle(.block(block))
                    }
                }
            case .store(let block): store[block.cid] = block.bytes
            case .unfinished: queue += fetch.handle(.proceed)
            default: break
            }
            inspect(fetch)
        }
        return (all.last, all)
    }

    private func map(_ blocks: [Block]) -> [CID: [UInt8]] {
        Dictionary(blocks.map { ($0.cid, $0.bytes) }, uniquingKeysWith: { first, _ in first })
    }

    @Test func aSingleRawBlockIsAFile() {
        let block = Block(.raw, [1, 2, 3])
        let (last, all) = run(block.cid, has: map([block]))
        guard case .done(let progress) = last else {
            Issue.record("\(all)")
            return
        }
        #expect(progress.bytes == 3 && progress.files == 1 && progress.bytesKnown == 3)
        #expect(all.contains(.place(block.cid, at: FilePosition(file: 0, offset: 0), length: 3, bytes: [1, 2, 3])))
    }

    @Test func aManifestBringsItsFilesInOrder() {
        let (first, firstBlocks) = FileBuilder.build(randomContent(5_000, seed: 1), chunkBytes: 512, linksMax: 4)
        let (second, secondBlocks) = FileBuilder.build(randomContent(100, seed: 2), chunkBytes: 512)
        let old = Block(.raw, [9, 9])
        let inner = Block(.dagCBOR, CBOR.map(["shard": .link(second.root)]).encoded())
        let manifest = Block(
            .dagCBOR,
            CBOR.map([
                "files": .array([.link(first.root), .link(inner.cid)]), "name": .text("n"), "previous": .link(old.cid),
            ]).encoded())
        var parameters = FetchParameters()
        parameters.keysNotFollowed = ["previous"]
        let (last, all) = run(
            manifest.cid, has: map(firstBlocks + secondBlocks + [inner, manifest, old]), parameters: parameters)
        guard case .done(let progress) = last else {
            Issue.record("\(String(describing: last))")
            return
        }
        #expect(progress.files == 2 && progress.bytes == 5_100 && progress.bytesKnown == 5_100)
        #expect(!all.contains(.store(old)))
        for index in 0..<2 {
            let bytes = all.compactMap { effect -> (FilePosition, [UInt8])? in
                guard case .place(_, let position, _, let bytes) = effect, position.file == index else { return nil }
                return (position, bytes ?? [])
            }.sorted { $0.0 < $1.0 }.flatMap(\.1)
            #expect(bytes == (index == 0 ? randomContent(5_000, seed: 1) : randomContent(100, seed: 2)))
        }
    }

    @Test func aBlockThatOccursOftenIsFetchedOnceAndPlacedOften() {
        let (file, blocks) = FileBuilder.build([UInt8](repeating: 0, count: 100_000), chunkBytes: 100, linksMax: 10)
        var parameters = FetchParameters()
        parameters.visitsPerCallMax = 50
        let (last, all) = run(file.root, has: map(blocks), parameters: parameters)
        guard case .done(let progress) = last else {
            Issue.record("\(String(describing: last))")
            return
        }
        #expect(progress.bytes == 100_000)
        let stored = all.count { if case .store = $0 { true } else { false } }
        #expect(stored == Set(blocks.map(\.cid)).count && progress.blocks == stored)
        let places = all.count { if case .place = $0 { true } else { false } }
        #expect(places == 1_000)
        #expect(all.contains(.unfinished))
    }

    @Test func noMoreThanTheLookAheadIsOnItsWay() {
        let (file, blocks) = FileBuilder.build(randomContent(50_000, seed: 3), chunkBytes: 100, linksMax: 20)
        var parameters = FetchParameters()
        parameters.lookAhead = 5
        var most = 0
        let (last, _) = run(file.root, has: map(blocks), parameters: parameters) { most = max(most, $0.wanted.count) }
        guard case .done = last else {
            Issue.record("\(String(describing: last))")
            return
        }
        #expect(most <= 5 && most >= 1)
    }

    @Test func contentThatLiesFails() {
        let leaf = Block(.raw, [1, 2, 3])
        func node(_ size: UInt64) -> Block {
            Block(.dagPB, FileNode(parts: [.init(cid: leaf.cid, size: size, totalSize: 3)]).encoded())
        }
        let lying = node(4)
        #expect(
            run(lying.cid, has: map([lying, leaf])).last == .failed(.wrongSize(leaf.cid, expected: 4, got: 3)))
        let true3 = node(3)
        let upper = Block(.dagPB, FileNode(parts: [.init(cid: true3.cid, size: 5, totalSize: 3)]).encoded())
        #expect(
            run(upper.cid, has: map([upper, true3, leaf])).last
                == .failed(.wrongSize(true3.cid, expected: 5, got: 3)))
        let garbage = Block(.dagPB, [1, 2, 3])
        #expect(run(garbage.cid, has: map([garbage])).last == .failed(.malformedNode(garbage.cid, .notDagPB)))
        let broken = Block(.dagCBOR, [0xff])
        guard case .failed(.malformedNode(broken.cid, .notDagCBOR)) = run(broken.cid, has: map([broken])).last else {
            Issue.record("dag-cbor that is none")
            return
        }
        var parameters = FetchParameters()
        parameters.bytesMax = 2
        #expect(
            run(true3.cid, has: map([true3, leaf]), parameters: parameters).last
                == .failed(.tooManyBytes(3, max: 2)))
        parameters = FetchParameters()
        parameters.visitsMax = 1
        #expect(
            run(true3.cid, has: map([true3, leaf]), parameters: parameters).last == .failed(.tooManyBlocks(max: 1)))
        parameters = FetchParameters()
        parameters.depthMax = 0
        #expect(run(true3.cid, has: map([true3, leaf]), parameters: parameters).last == .failed(.tooDeep(true3.cid)))
    }

    @Test func aStoreThatLiesIsNotBelieved() {
        let block = Block(.raw, [1, 2, 3])
        var fetch = Fetch(root: block.cid)
        #expect(fetch.handle(.start) == [.look(block.cid, needsBytes: true)])
        #expect(fetch.handle(.local(block.cid, .bytes([1, 2, 4]))) == [.want([block.cid])])
        #expect(fetch.wanted == [block.cid])
        // A block that was not asked for changes nothing.
        #expect(fetch.handle(.block(Block(.raw, [7]))).isEmpty)
        guard case .done = fetch.handle(.block(block)).last else {
            Issue.record("not done")
            return
        }
        #expect(fetch.isOver)
    }
}
