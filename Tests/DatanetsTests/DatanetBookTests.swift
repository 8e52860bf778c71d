import Primitives
import Records
import Testing

@testable import Datanets

/// A peer's book with the blocks that it stored, and what it told the network.
private struct Peer {
    var book: DatanetBook
    var blocks: [CID: [UInt8]] = [:]
    var remembered: [CatalogEntry] = []
    var announced: [CatalogEntry] = []
    var wanted: [CID] = []
    var changed: [CID] = []
    var waiting: [(CID, ContributionReport)] = []
    var refused: [DatanetFault] = []
    var checked: [CID: [Digest]] = [:]

    init(_ number: UInt8) { book = DatanetBook(key: signingKey(number), network: testNetwork) }

    mutating func perform(_ effects: [DatanetEffect]) {
        for effect in effects {
            switch effect {
            case .store(let stored): for block in stored { blocks[block.cid] = block.bytes }
            case .want(let cids): wanted += cids
            case .remember(let entry): remembered.append(entry)
            case .checked(let contribution, let hashes): checked[contribution] = hashes
            case .forget(let entry): remembered.removeAll { $0 == entry }
            case .announce(let entry):
                // Durable, then visible: what is announced is stored before.
                #expect(blocks[entry.root] != nil)
                announced.append(entry)
            case .changed(_, let snapshot): changed.append(snapshot)
            case .waiting(_, let contribution, let report): waiting.append((contribution, report))
            case .refused(_, let fault): refused.append(fault)
            }
        }
    }

    mutating func handle(_ event: DatanetEvent) { perform(book.handle(event, now: Instant(nanoseconds: 0))) }

    /// Fetches what is wanted from `other` until nothing more is.
    mutating func pull(from other: Peer, random: inout SeededRandom) {
        while !wanted.isEmpty {
            wanted.shuffle(using: &random)
            let cid = wanted.removeLast()
            if let bytes = other.blocks[cid] ?? blocks[cid] {
                handle(.block(cid, bytes))
            } else {
                handle(.unavailable(cid))
            }
        }
    }

    mutating func create(_ policy: DatanetPolicy = .open, name: String = "food") throws -> DatanetID {
        let (id, effects) = try book.create(
            name: name, summary: "what people eat", tags: ["food", "english"], licence: "CC0", policy: policy,
            nonce: [UInt8](repeating: 7, count: 16))
        perform(effects)
        return id
    }

    mutating func contribute(_ rows: [Row], to id: DatanetID) throws -> CID {
        let (cid, effects) = try book.contribute(rows, to: id, licence: "CC0")
        perform(effects)
        return cid
    }
}

@Suite struct DatanetBookTests {
    var random = SeededRandom(seed: 1)

    @Test mutating func createdByOneExtendedByAnother() throws {
        var owner = Peer(1)
        var other = Peer(2)
        let id = try owner.create()
        let first = try owner.contribute(makeRows(600, seed: 1), to: id)
        for entry in owner.announced { other.handle(.announced(entry)) }
        other.pull(from: owner, random: &random)
        #expect(other.book.snapshot(id) == owner.book.snapshot(id))
        #expect(other.book.manifest(id)?.rowCount == 600)

        let second = try other.contribute(makeRows(400, seed: 2), to: id)
        owner.handle(.announced(try #require(other.announced.last)))
        owner.pull(from: other, random: &random)
        #expect(owner.refused.isEmpty)
        #expect(owner.book.contributions(id).map(\.cid) == [first, second])
        #expect(owner.book.manifest(id)?.revision == 2)

        other.handle(.announced(try #require(owner.announced.last)))
        other.pull(from: owner, random: &random)
        #expect(other.book.snapshot(id) == owner.book.snapshot(id))
        #expect(other.book.manifest(id)?.rowCount == 1000)
        #expect(other.book.shards(id).allSatisfy { other.blocks[$0] != nil })
        #expect(other.refused.isEmpty)
        #expect(other.book.wanted().isEmpty)
    }

    @Test mutating func anOwnerWhoWantsToSeeFirstDecides() throws {
        var owner = Peer(1)
        var other = Peer(2)
        let id = try owner.create(.approval)
        other.handle(.announced(owner.announced[0]))
        other.pull(from: owner, random: &random)
        let rows = makeRows(50, seed: 3)
        let good = try other.contribute(rows + [rows[0]], to: id)
        let bad = try other.contribute(makeRows(10, seed: 4), to: id)
        for entry in other.announced { owner.handle(.announced(entry)) }
        owner.pull(from: other, random: &random)
        #expect(owner.book.waiting == [good, bad].sorted())
        #expect(owner.book.report(good)?.duplicates == 1)
        #expect(owner.book.manifest(id)?.revision == 0)
        owner.perform(try owner.book.approve(good))
        owner.perform(try owner.book.refuse(bad, reason: "off topic"))
        #expect(owner.book.manifest(id)?.contributions == [good])
        #expect(owner.refused == [.refusedByOwner(reason: "off topic")])
        #expect(owner.book.waiting.isEmpty)
        #expect(throws: DatanetFault.unavailable(bad)) { try owner.book.approve(bad) }
    }

    @Test mutating func rowsThatWereCheckedAreNotReadAgain() throws {
        var owner = Peer(1)
        var other = Peer(2)
        let id = try owner.create()
        let rows = makeRows(300, seed: 1)
        let first = try owner.contribute(rows, to: id)
        for entry in owner.announced { other.handle(.announced(entry)) }
        other.pull(from: owner, random: &random)
        #expect(owner.checked[first] == rows.map(\.normalisedHash))
        #expect(other.checked == owner.checked)
        for (checked, reads) in [(other.checked, 2), ([first: [Digest.zero]], 3), ([:], 3)] {
            var again = Peer(2)
            again.book = DatanetBook(key: signingKey(2), network: testNetwork, checked: checked)
            again.blocks = other.blocks
            var loads = 0
            for entry in other.remembered { again.handle(.held(entry)) }
            while let cid = again.wanted.popLast() {
                loads += 1
                again.handle(.block(cid, try #require(other.blocks[cid])))
            }
            // Manifest and envelope, and the shards only where their rows must be read.
            #expect(loads >= reads && (reads == 3 || loads == 2))
            #expect(again.book.snapshot(id) == other.book.snapshot(id))
            #expect(throws: DatanetFault.nothingNew) { try again.contribute(Array(rows.prefix(20)), to: id) }
        }
    }

    @Test mutating func afterARestartTheBookIsAsItWas() throws {
        var owner = Peer(1)
        let id = try owner.create()
        _ = try owner.contribute(makeRows(300, seed: 5), to: id)
        var again = Peer(1)
        again.blocks = owner.blocks
        // The performer keeps the last entry of each datanet.
        again.handle(.held(try #require(owner.remembered.last)))
        again.pull(from: again, random: &random)
        #expect(again.book.snapshot(id) == owner.book.snapshot(id))
        #expect(again.announced.isEmpty)
        let next = try again.contribute(makeRows(10, seed: 6), to: id)
        #expect(again.book.contributions(id).last?.cid == next)
        #expect(again.book.contributions(id).last?.contribution.sequence == 1)
    }

    @Test mutating func replaysAndCopiesAreRefused() throws {
        var owner = Peer(1)
        var other = Peer(2)
        let id = try owner.create()
        other.handle(.announced(owner.announced[0]))
        other.pull(from: owner, random: &random)
        let rows = makeRows(20, seed: 7)
        _ = try other.contribute(rows, to: id)
        let entry = try #require(other.announced.last)
        owner.handle(.announced(entry))
        owner.pull(from: other, random: &random)
        owner.handle(.announced(entry))
        #expect(owner.wanted.isEmpty)

        // The same rows by a third: nothing new. The same sequence by the second: a replay.
        var third = Peer(3)
        for entry in owner.announced.prefix(1) { third.handle(.announced(entry)) }
        third.pull(from: owner, random: &random)
        _ = try third.contribute(rows, to: id)
        owner.handle(.announced(try #require(third.announced.last)))
        owner.pull(from: third, random: &random)
        #expect(owner.refused == [.nothingNew])
        #expect(throws: DatanetFault.nothingNew) { try owner.book.contribute(rows, to: id, licence: "CC0") }

        var clone = Peer(2)
        for entry in owner.announced.prefix(1) { clone.handle(.announced(entry)) }
        clone.pull(from: owner, random: &random)
        _ = try clone.contribute(makeRows(5, seed: 8), to: id)
        owner.handle(.announced(try #require(clone.announced.last)))
        owner.pull(from: clone, random: &random)
        #expect(owner.refused.last == .sequence(last: 0, found: 0))
    }

    @Test mutating func manifestsThatDoNotFollowAreRefused() throws {
        var owner = Peer(1)
        var other = Peer(2)
        let id = try owner.create()
        _ = try owner.contribute(makeRows(30, seed: 9), to: id)
        for entry in owner.announced { other.handle(.announced(entry)) }
        other.pull(from: owner, random: &random)
        let known = try #require(owner.book.manifest(id))
        let snapshot = try #require(owner.book.snapshot(id))

        func offer(_ manifest: DatanetManifest, by key: SigningKey) -> [DatanetFault] {
            var peer = other
            peer.refused = []
            let (root, block) = manifest.signed(by: key, network: testNetwork)
            peer.handle(
                .announced(
                    CatalogEntry(
                        kind: .datanet, name: "food", root: root, owner: known.owner, revision: manifest.revision,
                        subject: id.digest, totalBytes: 0)))
            if !peer.wanted.isEmpty { peer.handle(.block(root, block)) }
            #expect(peer.book.snapshot(id) == snapshot)
            return peer.refused
        }
        let owners = signingKey(1)
        var fork = known
        fork.summary = "another"
        #expect(offer(fork, by: owners) == [.fork(revision: 1)])
        let wrong = signingKey(4)
        #expect(
            offer(fork, by: wrong) == [.wrongSigner(expected: known.owner, found: wrong.publicKey.account)])
        let contribution = try #require(owner.book.contributions(id).first)
        let stray = CID(.dagCBOR, hashing: [1])
        let loose = try known.adding(stray, contribution.contribution, after: stray)
        #expect(offer(loose, by: owners) == [.wrongPrevious])
        let founding = try DatanetManifest(
            owner: known.owner, name: "food", nonce: known.nonce, licence: "CC0", policy: .open)
        let rewritten = try founding.adding(stray, contribution.contribution, after: snapshot)
            .adding(CID(.dagCBOR, hashing: [2]), contribution.contribution, after: snapshot)
        #expect(offer(rewritten, by: owners) == [.rewritten])
        #expect(offer(founding, by: owners).isEmpty)
    }

    @Test mutating func nobodyElseAnnouncesARevision() throws {
        var owner = Peer(1)
        var other = Peer(2)
        let id = try owner.create()
        let entry = try #require(owner.announced.last)
        let stranger = signingKey(5).publicKey.account
        let forged = CatalogEntry(
            kind: .datanet, name: "food", root: CID(.dagCBOR, hashing: [1]), owner: stranger, revision: 99,
            subject: id.digest, totalBytes: 0)
        // The right content under the wrong name is refused, too.
        var third = Peer(3)
        var borrowed = entry
        borrowed.owner = stranger
        third.handle(.announced(borrowed))
        third.pull(from: owner, random: &random)
        #expect(third.refused == [.wrongSigner(expected: entry.owner, found: stranger)])

        other.handle(.announced(entry))
        other.pull(from: owner, random: &random)
        other.handle(.announced(forged))
        #expect(other.refused == [.wrongSigner(expected: entry.owner, found: stranger)])
        #expect(other.wanted.isEmpty)
        #expect(other.book.snapshot(id) == owner.book.snapshot(id))
    }

    @Test func badNamesAndReservedPoliciesAreNamed() {
        var peer = Peer(1)
        for name in ["", "Food", "a b", "-x", String(repeating: "a", count: 65)] {
            do {
                _ = try peer.create(name: name)
                Issue.record("\(name) was accepted")
            } catch DatanetFault.invalid(let field, _) {
                #expect(field == "name")
            } catch {
                Issue.record("\(error)")
            }
        }
        #expect(throws: DatanetFault.privateIsReserved) { try peer.create(.private) }
        #expect(throws: DatanetFault.unknownDatanet(DatanetID(.zero))) {
            try peer.contribute(makeRows(1, seed: 1), to: DatanetID(.zero))
        }
    }

    /// The canary: a serving peer that changes one byte of a shard is noticed, and nothing is taken over.
    @Test mutating func aFlippedByteIsNeverTakenOver() throws {
        var owner = Peer(1)
        let id = try owner.create()
        _ = try owner.contribute(makeRows(30, seed: 10), to: id)
        for shard in owner.book.shards(id) { owner.blocks[shard]?[100] ^= 1 }
        var other = Peer(2)
        other.handle(.announced(try #require(owner.announced.last)))
        other.pull(from: owner, random: &random)
        #expect(other.book.snapshot(id) == nil)
        #expect(!other.book.wanted().isEmpty)
    }
}
