// A peer as a process: runs until it is told to stop, or for as long as one command needs a home's API.

import Dispatch
import Foundation
import Gateway
import Ledger
package import Logging
import Metrics
import Primitives
import Records
import Synchronization

/// What a peer says when it is ready.
package struct ReadyNote: Sendable {
    package let peer: String
    package let account: String
    package let listen: [String]
    package let http: String
    package let page: String
    package let network: String
}

package enum PeerProcess {
    private static let advertSeconds = 240

    /// Runs until SIGTERM or SIGINT, drains, and returns.
    package static func run(
        _ options: PeerOptions, logger: Logger, ready: @escaping @Sendable (ReadyNote) -> Void
    ) async throws {
        let registry = PrometheusRegistry()
        MetricsSystem.bootstrap(registry)
        let stop = StopSignals()
        guard let peer = try await start(options, logger, unless: stop) else { return }
        do {
            try await serve(peer, registry: registry, socketOnly: false, stop: stop) { address in
                let listen = (try? await peer.handle.listenAddresses()) ?? []
                ready(
                    ReadyNote(
                        peer: peer.handle.peer.text, account: peer.handle.account.text,
                        listen: listen.map { $0.with(peer: peer.handle.peer).text }, http: address.url,
                        page: address.pageURL, network: peer.genesis.network.text))
            }
        } catch {
            await peer.stop()
            throw error
        }
        await peer.stop()
    }

    /// Nil when it was told to stop before the peer was up: a newcomer may wait long for its genesis.
    private static func start(
        _ options: PeerOptions, _ logger: Logger, unless stop: StopSignals
    ) async throws -> RunningPeer? {
        let starting = Task { try await RunningPeer.start(options, logger: logger) }
        Task {
            await stop.wait()
            starting.cancel()
        }
        do {
            return try await starting.value
        } catch PeerFault.stopped {
            return nil
        }
    }

    /// Opens the home under its lock, serves its API on the Unix socket alone while `body` runs.
    package static func offline(
        _ options: PeerOptions, logger: Logger, body: @escaping @Sendable (_ socketPath: String) async throws -> Void
    ) async throws {
        var options = options
        options.offline = true
        options.flags["http"] = "127.0.0.1:0"
        let peer = try await RunningPeer.start(options, logger: logger)
        let stop = StopSignals()
        let socket = peer.home.socketPath
        let outcome = OutcomeBox()
        do {
            try await serve(peer, registry: PrometheusRegistry(), socketOnly: true, stop: stop) { _ in
                do { try await body(socket) } catch { outcome.set(error) }
                stop.trigger()
            }
        } catch {
            await peer.stop()
            throw error
        }
        await peer.stop()
        if let error = outcome.error { throw error }
    }

    static func gateway(
        _ home: Home, _ settings: Settings, _ service: some NodeService, _ registry: PrometheusRegistry,
        _ logger: Logger, keys: APIKeyShelf? = nil
    ) throws -> HTTPGateway {
        let token = try HomeToken.load(orCreateAt: home.tokenPath)
        var configuration = GatewayConfiguration(
            host: settings.httpHost, port: settings.httpPort, socketPath: home.socketPath, homeToken: token)
        configuration.allowedHosts = settings.list("http.hosts")
        configuration.apiKeyDigests = Set(settings.list("http.keys").map { Digest(sha256: Array($0.utf8)) })
        if let keys { configuration.keyStore = keys }
        unlink(home.socketPath)
        return try HTTPGateway(configuration: configuration, service: service, registry: registry, logger: logger)
    }

    private static func serve(
        _ peer: RunningPeer, registry: PrometheusRegistry, socketOnly: Bool, stop: StopSignals,
        bound: @escaping @Sendable (GatewayAddress) async -> Void
    ) async throws {
        let service = PeerService(peer: peer)
        let gateway = try gateway(
            peer.home, peer.settings, service, registry, peer.logger,
            keys: APIKeyShelf(store: peer.store.store))
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                let address = AsyncStream<GatewayAddress>.makeStream()
                async let announced: Void = {
                    for await bind in address.stream { await bound(bind) }
                }()
                try await gateway.run { bind in
                    address.continuation.yield(bind)
                    address.continuation.finish()
                }
                address.continuation.finish()
                await announced
                return true
            }
            group.addTask {
                await stop.wait()
                await gateway.drain()
                return false
            }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(advertSeconds))
                    if Task.isCancelled { break }
                    await peer.advertise()
                    await peer.keepLive()
                    do { try service.own.letGo(now: NodeDriver.wallTime()) } catch {
                        peer.logger.warning("openings of old receipts stay: \(error)")
                    }
                }
                return false
            }
            // The gateway ends when it drained; the rest is only there for it.
            while let isOver = try await group.next(), !isOver {}
            group.cancelAll()
            stop.trigger()
        }
    }
}

/// SIGTERM and SIGINT as something to wait for, by as many as want to.
private final class StopSignals: Sendable {
    private final class Waiters: Sendable {
        private let state = Mutex<(isOver: Bool, list: [CheckedContinuation<Void, Never>])>((false, []))

        func end() {
            let list = state.withLock { state in
                defer { state = (true, []) }
                return state.list
            }
            for waiter in list { waiter.resume() }
        }

        func add(_ waiter: CheckedContinuation<Void, Never>) {
            let isOver = state.withLock { state in
                if !state.isOver { state.list.append(waiter) }
                return state.isOver
            }
            if isOver { waiter.resume() }
        }
    }

    private let waiters: Waiters
    private let sources: SourceBox

    init() {
        let waiters = Waiters()
        self.waiters = waiters
        sources = SourceBox(
            [SIGTERM, SIGINT].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler { waiters.end() }
                source.resume()
                return source
            })
    }

    func trigger() { waiters.end() }

    /// Returns when a signal came or `trigger` was called; a task's end does not end it.
    func wait() async {
        await withCheckedContinuation { waiters.add($0) }
    }
}

// @unchecked Sendable: the sources are only kept alive; nobody touches them after init.
private final class SourceBox: @unchecked Sendable {
    private let sources: [any DispatchSourceSignal]
    init(_ sources: [any DispatchSourceSignal]) { self.sources = sources }
}

private final class OutcomeBox: Sendable {
    private let stored = Locked<(any Error)?>(nil)
    var error: (any Error)? { stored.value }
    func set(_ error: any Error) { stored.value = error }
}

// @unchecked Sendable: `stored` is used with `lock` held.
private final class Locked<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var stored: Value

    init(_ value: Value) { stored = value }

    var value: Value {
        get { lock.withLock { stored } }
        set { lock.withLock { stored = newValue } }
    }
}

// MARK: Devnet

package struct DevnetMember: Sendable {
    package let home: String
    package let peer: String
    package let listen: String
    package let http: String
    package let address: String
}

package struct DevnetDescription: Sendable {
    package let genesis: String
    package let genesisFile: String
    package let faucet: String
    package let members: [DevnetMember]
}

extension PeerProcess {
    /// Makes homes with keys, and one genesis that names them. The first owns the starter model and the faucet.
    package static func prepareDevnet(root: String, peers: Int, basePort: Int) throws -> DevnetDescription {
        var members: [DevnetMember] = []
        var keys: [SigningKey] = []
        for index in 0..<peers {
            let home = try Home(path: "\(root)/peer\(index)")
            let key = try home.signingKey()
            let listen = "/ip4/127.0.0.1/tcp/\(basePort + 2 * index)"
            keys.append(key)
            members.append(
                DevnetMember(
                    home: home.path, peer: key.publicKey.peerID.text, listen: listen,
                    http: "127.0.0.1:\(basePort + 2 * index + 1)", address: "\(listen)/p2p/\(key.publicKey.peerID.text)"
                ))
        }
        var assets: [(CID, FolderManifest)] = []
        if let starter = Starter.find(nil) {
            let model = try FolderHasher.manifest(path: starter.model, kind: .model, name: Starter.name, base: nil).0
            assets.append((model.cid, model))
            for (name, path) in starter.adapters {
                let adapter = try FolderHasher.manifest(path: path, kind: .adapter, name: name, base: model.cid).0
                assets.append((adapter.cid, adapter))
            }
        }
        guard let first = keys.first else { throw HomeFault.genesis("a devnet has at least one peer") }
        let genesis = try LocalNetwork.genesis(
            name: "devnet", members: keys.map(\.publicKey), faucet: first.publicKey.account, assets: assets,
            at: NodeDriver.wallTime())
        let file = "\(root)/genesis.cbor"
        try Home.writeNew(genesis.encoded(), to: file)
        return DevnetDescription(
            genesis: genesis.network.text, genesisFile: file, faucet: first.publicKey.account.text, members: members)
    }
}
