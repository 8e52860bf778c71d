// A newcomer with a hash alone: what it believes, whom it blames, and what a peer of the network answers it.

import Ledger
import Primitives
import Testing

@testable import NodeCore

@Suite struct GenesisSeekerTests {
    let keys: [SigningKey]
    let genesis: Genesis
    let boot: [Multiaddr]

    init() throws {
        keys = try (1...3).map { try SigningKey(seed: [UInt8](repeating: $0, count: 32)) }
        genesis = try Self.genesis("one", keys[0])
        boot = try keys.enumerated().map { index, key in
            try Multiaddr(text: "/ip4/127.0.0.1/tcp/\(4001 + index)").with(peer: key.publicKey.peerID)
        }
    }

    static func genesis(_ name: String, _ key: SigningKey) throws -> Genesis {
        let account = key.publicKey.account
        return try Genesis(
            name: name, time: WallTime(milliseconds: 1_700_000_000_000),
            balances: [Genesis.Balance(account: account, amount: .one)],
            candidates: [Genesis.Candidate(account: account, key: key.publicKey, stake: .one, seats: 1)])
    }

    /// The seeker with a clock, and what it did.
    struct Scene {
        var seeker: GenesisSeeker
        var now = Instant.start
        var dialled: [Multiaddr] = []
        var asked: [(stream: StreamID, peer: PeerID)] = []
        var sent: [StreamID: [UInt8]] = [:]
        var blamed: [PeerID] = []
        var found: Genesis?

        mutating func handle(_ event: SeekerEvent) {
            for effect in seeker.handle(event, at: now) {
                switch effect {
                case .dial(let address): dialled.append(address)
                case .open(let stream, let peer): asked.append((stream, peer))
                case .send(let stream, let bytes): sent[stream] = bytes
                case .blame(let peer, _): blamed.append(peer)
                case .found(let genesis): found = genesis
                case .unreadable, .finish, .reset, .disconnect: break
                }
            }
        }

        mutating func pass(_ seconds: Int) {
            for _ in 0..<seconds {
                now = now + .seconds(1)
                handle(.tick)
            }
        }
    }

    private func scene(connecting count: Int) -> Scene {
        var scene = Scene(seeker: GenesisSeeker(network: genesis.network, boot: boot))
        scene.handle(.start)
        for key in keys.prefix(count) { scene.handle(.connected(key.publicKey.peerID)) }
        return scene
    }

    @Test func findsWhatTheHashNames() throws {
        var scene = scene(connecting: 1)
        #expect(scene.dialled == boot)
        let question = try #require(scene.asked.first)
        scene.handle(.opened(question.stream))
        #expect(HeadersWanted(try #require(scene.sent[question.stream])) == .genesis(genesis.network))
        scene.handle(.received(question.stream, genesis.encoded()))
        #expect(scene.found == genesis && scene.seeker.isDone && scene.blamed.isEmpty)
    }

    @Test func blamesAWrongGenesisAndAsksAnother() throws {
        var scene = scene(connecting: 2)
        let first = try #require(scene.asked.first)
        #expect(scene.asked.count == 1)
        scene.handle(.received(first.stream, try Self.genesis("two", keys[1]).encoded()))
        #expect(scene.found == nil && scene.blamed == [first.peer])
        let second = try #require(scene.asked.last)
        #expect(second.peer != first.peer)
        // A liar that comes back is not asked, and not dialled, again.
        scene.handle(.connected(first.peer))
        scene.dialled = []
        scene.pass(55)
        #expect(!scene.asked.dropFirst(2).contains { $0.peer == first.peer })
        #expect(!scene.dialled.contains { $0.peer == first.peer })
        scene.handle(.received(try #require(scene.asked.last).stream, genesis.encoded()))
        #expect(scene.found == genesis)
    }

    @Test func refusesWhatIsTooLongOrDamaged() throws {
        var scene = scene(connecting: 3)
        scene.handle(.received(scene.asked[0].stream, [UInt8](repeating: 0, count: GenesisSeeker.answerBytesMax + 1)))
        scene.handle(.broken(scene.asked[1].stream, "a message that is too long"))
        scene.handle(.received(scene.asked[2].stream, genesis.encoded() + [0]))
        #expect(scene.found == nil && Set(scene.blamed) == Set(keys.map(\.publicKey.peerID)))
        #expect(scene.seeker.sentence.contains("check the hash"))
        scene.pass(120)
        #expect(scene.asked.count == 3 && scene.found == nil)
    }

    @Test func goesOnAfterSilenceAndComesBack() throws {
        var scene = scene(connecting: 2)
        let first = try #require(scene.asked.first)
        scene.pass(9)
        #expect(scene.asked.count == 1)
        scene.pass(1)
        #expect(scene.asked.count == 2 && scene.asked[1].peer != first.peer && scene.blamed.isEmpty)
        // What comes too late is not looked at; neither is what nobody asked for.
        scene.handle(.received(first.stream, genesis.encoded()))
        #expect(scene.found == nil)
        scene.handle(.ended(scene.asked[1].stream))
        scene.pass(15)
        #expect(scene.asked.count >= 3)
        scene.handle(.disconnected(try #require(scene.asked.last).peer))
        #expect(scene.found == nil && scene.blamed.isEmpty)
    }

    @Test func waitsWhileNobodyAnswers() {
        var scene = scene(connecting: 0)
        scene.pass(600)
        #expect(scene.found == nil && scene.asked.isEmpty && !scene.seeker.isDone)
        #expect(scene.dialled.count > boot.count && scene.dialled.count < 700)
        #expect(scene.seeker.sentence.contains("none of the boot peers answers"))
    }

    // MARK: The other side

    private func answer(_ request: [UInt8]) throws -> (sent: [[UInt8]], finished: Bool, blamed: Bool) {
        let configuration = NodeConfiguration(
            key: keys[0], genesis: genesis,
            price: PriceSchedule(request: .zero, promptToken: .zero, answerToken: .zero), allowanceLimit: .one,
            allowanceHeights: 100, seed: 1, firstSequence: 1)
        let moment = Moment(.start, genesis.time)
        var node = try Node(configuration, moment: moment)
        let (peer, stream) = (keys[1].publicKey.peerID, StreamID(3))
        _ = node.handle(.connected(peer, outbound: false), at: moment)
        _ = node.handle(.accepted(stream, peer, protocolName: NodeProtocol.headers), at: moment)
        var result: (sent: [[UInt8]], finished: Bool, blamed: Bool) = ([], false, false)
        for effect in node.handle(.received(stream, request), at: moment) {
            switch effect {
            case .send(stream, let bytes): result.sent.append(bytes)
            case .finish(stream): result.finished = true
            case .notify(.blamed): result.blamed = true
            default: break
            }
        }
        return result
    }

    @Test func aPeerGivesItsGenesisToWhoNamesIt() throws {
        let mine = try answer(GenesisRequest.encoded(genesis.network))
        #expect(mine.sent == [genesis.encoded()] && mine.finished && !mine.blamed)
        let other = try answer(GenesisRequest.encoded(NetworkID(Digest(sha256: [1]))))
        #expect(other.sent.isEmpty && other.finished && !other.blamed)
        for bad: CBOR in [
            .map(["type": .text("genesis")]), .map(["type": .text("genesis"), "network": .bytes([1, 2])]),
            .map(["type": .text("genesis"), "network": .network(genesis.network), "more": .null]),
            .map(["type": .text("everything")]),
        ] {
            let refused = try answer(bad.encoded())
            #expect(refused.sent.isEmpty && !refused.finished && refused.blamed)
        }
    }
}
