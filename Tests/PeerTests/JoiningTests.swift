// Homes that join a network with its hash alone, on loopback.

import Foundation
import Ledger
import Logging
import NodeCore
import Primitives
import Storage
import Testing

@testable import Peer

@Suite struct JoiningTests {
    private func folder() -> String {
        "\(FileManager.default.temporaryDirectory.path)/olj-\(UInt32.random(in: 0 ... .max))"
    }

    private func options(_ home: String, _ flags: [String: String] = [:]) -> PeerOptions {
        var options = PeerOptions(home: home, environment: [:])
        options.starter = false
        options.flags = ["listen": "/ip4/127.0.0.1/tcp/0", "http": "127.0.0.1:0"].merging(flags) { $1 }
        return options
    }

    private let logger = Logger(label: "joining")

    private func address(_ peer: RunningPeer) async throws -> String {
        let listening = try await peer.handle.listenAddresses()
        return try #require(listening.first).with(peer: peer.handle.peer).text
    }

    @Test func joinsWithTheHashAlone() async throws {
        let (there, here) = (folder(), folder())
        defer { for path in [there, here] { try? FileManager.default.removeItem(atPath: path) } }
        let host = try await RunningPeer.start(options(there), logger: logger)
        let flags = ["network": host.genesis.network.text, "bootstrap": try await address(host)]
        let joined = try await RunningPeer.start(options(here, flags), logger: logger)
        // What the next start reads, without a network.
        #expect(joined.genesis == host.genesis && joined.key.publicKey != host.key.publicKey)
        #expect(try Home(path: here).genesis() == host.genesis && Home(path: here).wantedNetwork == nil)
        await joined.stop()
        await host.stop()
    }

    @Test func waitsForBootPeersAndMakesNothingUp() async throws {
        let here = folder()
        defer { try? FileManager.default.removeItem(atPath: here) }
        let network = NetworkID(Digest(sha256: [1])).text
        let nobody = try SigningKey(seed: [UInt8](repeating: 9, count: 32)).publicKey.peerID
        let flags = ["network": network, "bootstrap": "/ip4/127.0.0.1/tcp/1/p2p/\(nobody)"]
        let waiting = Task { [logger] in try await RunningPeer.start(options(here, flags), logger: logger) }
        try await Task.sleep(for: .milliseconds(1500))
        waiting.cancel()
        #expect(await fault { try await waiting.value } == PeerFault.stopped.description)
        #expect(try Home(path: here).genesis() == nil)

        // A command on that home does not wait, and says what to do; without the hash neither makes up a network.
        var offline = options(here, flags)
        offline.offline = true
        #expect(await start(offline).contains("openledger up"))
        offline.flags = [:]
        #expect(await start(offline).contains("--bootstrap"))
        #expect(try Home(path: here).genesis() == nil)
    }

    private func start(_ options: PeerOptions) async -> String {
        await fault { [logger] in try await RunningPeer.start(options, logger: logger) }
    }

    /// What a start fails with.
    private func fault(_ body: @Sendable () async throws -> RunningPeer) async -> String {
        do {
            await (try body()).stop()
            return "it started"
        } catch {
            return "\(error)"
        }
    }

    /// A boot peer of another network says nothing; one that gives another genesis is blamed (GenesisSeekerTests).
    @Test func aPeerOfAnotherNetworkIsNoHelp() async throws {
        let there = folder()
        defer { try? FileManager.default.removeItem(atPath: there) }
        let host = try await RunningPeer.start(options(there), logger: logger)
        let boot = try Multiaddr(text: try await address(host))
        let search = GenesisSearch(
            network: NetworkID(Digest(sha256: [2])), boot: [boot],
            key: try SigningKey(seed: [UInt8](repeating: 8, count: 32)), logger: logger)
        let running = Task { try await search.run() }
        for _ in 0..<100 where !search.standing.sentence.contains("do not give it") {
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(search.standing.sentence.contains("do not give it") && search.standing.connected == 1)
        running.cancel()
        await #expect(throws: PeerFault.self) { _ = try await running.value }
        await host.stop()
    }

    // MARK: Leaving a local network

    private func network(_ name: String, _ key: SigningKey, others: [PublicKey] = []) throws -> Genesis {
        try LocalNetwork.genesis(
            name: name, members: [key.publicKey] + others, faucet: key.publicKey.account, assets: [],
            at: WallTime(milliseconds: 1_700_000_000_000))
    }

    private func open(_ home: Home) throws -> Store {
        try Store(
            home: home.storePath,
            schema: Schema(version: 1, tables: NodeStore.tables + BlobTables.all + ModelShelf.tables))
    }

    private static let kept = MetaKey.contentPrefix + [1]

    /// A home on a local network with something in every table; 2,500 rows in one.
    private func used(_ path: String) throws -> (home: Home, genesis: Genesis) {
        let home = try Home(path: path)
        let genesis = try network(LocalNetwork.name, try home.signingKey())
        try home.keep(genesis)
        let store = try open(home)
        for table in NodeTable.allCases {
            try store.write([StoreWrite(table: table.id, key: [7], value: Array(table.rawValue.utf8))])
        }
        try store.write(
            (0..<2500).map { StoreWrite(table: NodeTable.state.id, key: [8] + UInt64($0).bigEndianBytes, value: [1]) })
        try store.write([StoreWrite(table: NodeTable.meta.id, key: Self.kept, value: [1])])
        return (home, genesis)
    }

    private func expectMoved(_ home: Home, from old: Genesis, to next: Genesis) throws {
        #expect(try home.genesis() == next)
        let archive = LedgerArchive.folder(home, old.network)
        #expect(try Home.readGenesis("\(archive)/genesis.cbor") == old)
        let ledger = Array(try #require(FileManager.default.contents(atPath: "\(archive)/ledger.cbor")))
        for table in NodeTable.allCases {
            let row = CBOR.array([.text(table.rawValue), .bytes([7]), .bytes(Array(table.rawValue.utf8))]).encoded()
            #expect(String(decoding: ledger, as: UTF8.self).contains(String(decoding: row, as: UTF8.self)))
        }
        let store = try open(home)
        for table in NodeTable.allCases {
            #expect(try store.entryCount(table.id) == (table == .meta ? 1 : 0))
        }
        #expect(try store.get(NodeTable.meta.id, Self.kept) == [1])
        #expect(!FileManager.default.fileExists(atPath: "\(home.path)/joining.cbor"))
    }

    @Test func aLocalLedgerIsPutAside() throws {
        let here = folder()
        defer { try? FileManager.default.removeItem(atPath: here) }
        let (home, old) = try used(here)
        let key = try home.signingKey()
        let next = try network("devnet", try SigningKey(seed: [UInt8](repeating: 7, count: 32)))
        try LedgerArchive.join(next, home, open(home))
        try expectMoved(home, from: old, to: next)
        #expect(try home.signingKey().publicKey == key.publicKey)
        // Nothing is left to finish.
        try LedgerArchive.finish(home, open(home))
        #expect(try home.genesis() == next)
    }

    /// The power fails when the archive is whole and the tables are half empty: the archive stays as it is.
    @Test func anInterruptedMoveIsFinished() throws {
        let here = folder()
        defer { try? FileManager.default.removeItem(atPath: here) }
        let (home, old) = try used(here)
        let next = try network("devnet", try SigningKey(seed: [UInt8](repeating: 7, count: 32)))
        try LedgerArchive.join(next, home, open(home))
        // Back to the moment before the end.
        try Home.move(home.genesisPath, to: "\(here)/joining.cbor")
        try home.keep(old)
        try open(home).write([StoreWrite(table: NodeTable.votes.id, key: [9], value: [9])])
        try LedgerArchive.finish(home, open(home))
        try expectMoved(home, from: old, to: next)
    }

    @Test func aNetworkOfOthersIsNotLeft() async throws {
        let here = folder()
        defer { try? FileManager.default.removeItem(atPath: here) }
        let home = try Home(path: here)
        let others = try (1...3).map { try SigningKey(seed: [UInt8](repeating: $0, count: 32)).publicKey }
        let genesis = try network("devnet", try home.signingKey(), others: others)
        try home.keep(genesis)
        let next = NetworkID(Digest(sha256: [1])).text
        #expect(await start(options(here, ["network": next])).contains("use another home"))
        #expect(try home.genesis() == genesis)
    }
}
