// A peer as a process: runs until it is told to stop, or for as long as one command needs a home's API.

import Dispatch
import Foundation
import Gateway
import Ledger
package import Logging
import Metrics
import Primitives
import Records

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
        let peer = try await RunningPeer.start(options, logger: logger)
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

    private static func serve(
        _ peer: RunningPeer, registry: PrometheusRegistry, socketOnly: Bool, stop: StopSignals,
        bound: @escaping @Sendable (GatewayAddress) async -> Void
    ) async throws {
        let token = try HomeToken.load(orCreateAt: peer.home.tokenPath)
        var configuration = GatewayConfiguration(
            host: peer.settings.httpHost, port: peer.settings.httpPort, socketPath: peer.home.socketPath,
            homeToken: token)
        configuration.allowedHosts = peer.settings.list("http.hosts")
        configuration.apiKeyDigests = Set(peer.settings.list("http.keys").map { Digest(sha256: Array($0.utf8)) })
        configuration.keyStore = APIKeyShelf(store: peer.store.store)
        unlink(peer.home.socketPath)
        let service = PeerService(peer: peer)
        let gateway = try HTTPGateway(
            configuration: configuration, service: service, registry: registry, logger: peer.logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
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
            }
            group.addTask {
                await stop.wait()
                await gateway.drain()
            }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(advertSeconds))
                    if Task.isCancelled { return }
                    await peer.advertise()
                    await peer.keepLive()
                }
            }
            // The gateway ends when it drained; the rest is only there for it.
            try await group.next()
            group.cancelAll()
            stop.trigger()
        }
    }
}

/// SIGTERM and SIGINT as something to wait for.
private final class StopSignals: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation
    private let sources: SourceBox

    init() {
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        self.stream = stream
        self.continuation = continuation
        sources = SourceBox(
            [SIGTERM, SIGINT].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler { continuation.finish() }
                source.resume()
                return source
            })
    }

    func trigger() { continuation.finish() }

    func wait() async {
        for await _ in stream {}
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
