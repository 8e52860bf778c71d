// The HTTP door of a peer: one router behind two listeners.
//
//     init ──run──▶ binding ──both bound──▶ serving ──drain──▶ finishing what is under way ──▶ run returns
//                      │ address taken                             │ drainSeconds passed
//                      ▼                                           ▼
//                  run throws                            what is left is cancelled
//
// A drain that comes earlier is kept: before `run` that returns at once, while it binds it ends when both are bound.
//
// It holds no state of the node. Its own state is who is logged in, how many requests are being answered, and metrics.

import HTTPTypes
import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import NIOPosix
import Primitives
import ServiceLifecycle
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Where a running gateway is reached.
package struct GatewayAddress: Sendable, Hashable {
    /// `http://127.0.0.1:8547`
    package var url: String
    package var port: Int
    package var socketPath: String?
    /// The page's address with a login code: works once, for an hour.
    package var pageURL: String
}

package final class HTTPGateway: Sendable {
    private let configuration: GatewayConfiguration
    private let service: any NodeService
    private let registry: PrometheusRegistry
    private let logger: Logger
    private let doorkeeper: Doorkeeper
    private let keys: KeyDesk
    private let replays = Replays()
    private let names = HostNames()
    private let boundPort = Mutex<Int?>(nil)
    private let lifetime = Mutex(Lifetime.idle)

    private enum Lifetime {
        case idle
        /// A drain that comes before both listeners are bound is kept until they are.
        case binding(ServiceGroup, drains: Bool)
        case serving(ServiceGroup)
        case over
    }

    /// Lives as long as the process: connections end after `run` has returned, and end on it.
    private static let threads = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// - Parameter registry: give the same one to `MetricsSystem.bootstrap`, so that `/metrics` shows the whole peer.
    /// - Throws: `.apiKeyNeeded` for an address that others reach, without a key.
    package init(
        configuration: GatewayConfiguration, service: any NodeService, registry: PrometheusRegistry, logger: Logger
    ) throws(GatewayFault) {
        do throws(NodeFault) {
            keys = try KeyDesk(store: configuration.keyStore ?? NoKeyStore())
        } catch {
            throw .keys(reason: error.message)
        }
        guard configuration.isLoopback || !configuration.apiKeyDigests.isEmpty || !keys.isEmpty else {
            throw .apiKeyNeeded(host: configuration.host)
        }
        self.configuration = configuration
        self.service = service
        self.registry = registry
        self.logger = logger
        doorkeeper = Doorkeeper(
            homeToken: configuration.homeToken, apiKeys: configuration.apiKeyDigests, keys: keys,
            limits: configuration.limits)
    }

    /// Serves until `drain` or cancellation.
    /// - Parameter ready: called once, when both listeners are bound.
    package func run(ready: @escaping @Sendable (GatewayAddress) -> Void) async throws {
        let threads = Self.threads
        let responder = router().buildResponder()
        let waiting = Mutex(configuration.socketPath == nil ? 1 : 2)
        let bound: @Sendable () -> Void = {
            let isLast = waiting.withLock { count in
                count -= 1
                return count == 0
            }
            guard isLast else { return }
            ready(self.address())
            self.serves()
        }
        var services: [any Service] = [
            Application(
                responder: responder, server: .http1(configuration: channelConfiguration()),
                configuration: .init(
                    address: .hostname(configuration.host, port: configuration.port),
                    availableConnectionsDelegate: .maximum(configuration.limits.connectionsMax, logger: logger)),
                onServerRunning: { channel in
                    self.learn(port: channel.localAddress?.port ?? self.configuration.port)
                    bound()
                }, eventLoopGroupProvider: .shared(threads), logger: logger)
        ]
        if let path = configuration.socketPath {
            services.append(
                Application(
                    responder: responder, server: .http1(configuration: channelConfiguration()),
                    configuration: .init(
                        address: .unixDomainSocket(path: path),
                        availableConnectionsDelegate: .maximum(configuration.limits.connectionsMax, logger: logger)),
                    onServerRunning: { _ in
                        chmod(path, 0o600)
                        bound()
                    }, eventLoopGroupProvider: .shared(threads), logger: logger))
        }
        var lifetimeConfiguration = ServiceGroupConfiguration(services: services, logger: logger)
        lifetimeConfiguration.maximumGracefulShutdownDuration = .seconds(configuration.limits.drainSeconds)
        let group = ServiceGroup(configuration: lifetimeConfiguration)
        let isDrained = lifetime.withLock { lifetime in
            guard case .idle = lifetime else { return true }
            lifetime = .binding(group, drains: false)
            return false
        }
        guard !isDrained else { return }
        defer {
            lifetime.withLock { $0 = .over }
            if let path = configuration.socketPath { unlink(path) }
        }
        try await group.run()
    }

    /// Accepts nothing more and lets what is under way finish, `drainSeconds` long; `run` then returns. Before `run`, it
    /// makes that return at once.
    package func drain() async {
        let group: ServiceGroup? = lifetime.withLock { lifetime in
            switch lifetime {
            case .idle: lifetime = .over
            case .binding(let group, _): lifetime = .binding(group, drains: true)
            case .serving(let group): return group
            case .over: break
            }
            return nil
        }
        await group?.triggerGracefulShutdown()
    }

    private func serves() {
        let drained: ServiceGroup? = lifetime.withLock { lifetime in
            guard case .binding(let group, let drains) = lifetime else { return nil }
            lifetime = .serving(group)
            return drains ? group : nil
        }
        if let drained { Task { await drained.triggerGracefulShutdown() } }
    }

    /// A fresh page address, for `openledger open`.
    package func pageURL() -> String { "\(url())/#code=\(doorkeeper.mintCode().text)" }

    // MARK: Names

    private func url() -> String {
        let port = boundPort.withLock { $0 } ?? configuration.port
        let wildcards = ["0.0.0.0", "::"]
        let host = wildcards.contains(configuration.host) ? "127.0.0.1" : configuration.host
        return "http://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }

    private func address() -> GatewayAddress {
        GatewayAddress(
            url: url(), port: boundPort.withLock { $0 } ?? configuration.port, socketPath: configuration.socketPath,
            pageURL: pageURL())
    }

    private func learn(port: Int) {
        boundPort.withLock { $0 = port }
        let host = configuration.host
        let own = ["127.0.0.1", "localhost", "[::1]", host.contains(":") ? "[\(host)]" : host].map { "\($0):\(port)" }
        names.set(Set((own + configuration.allowedHosts).map { $0.lowercased() }))
    }

    private func channelConfiguration() -> HTTP1Channel.Configuration {
        HTTP1Channel.Configuration(
            idleTimeout: .seconds(configuration.limits.idleConnectionSeconds),
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 32 << 10, maxHeaderFieldCount: 100))
    }

    // MARK: Routes

    private func router() -> Router<GatewayContext> {
        let limits = configuration.limits
        let router = Router(context: GatewayContext.self, options: .autoGenerateHeadEndpoints)
        let allowed = AllowedMethods()
        router.add(middleware: FaultGuard(registry: registry, allowed: allowed))
        router.add(middleware: OriginGuard(names: names, limits: limits))
        router.add(middleware: AdmissionGuard(admission: Admission(countMax: limits.requestsMax)))
        router.add(middleware: AuthorityGuard(doorkeeper: doorkeeper))

        PageFiles.add(to: router, folder: configuration.pageFolder)
        addHealth(to: router)
        let isLoopback = configuration.isLoopback
        let machine = router.group().add(middleware: AccessGuard(access: .machine, isLoopback: isLoopback))
        let desk = AnswerDesk(service: service, limits: limits, keys: keys, replays: replays, registry: registry)
        let openAI = OpenAIRoutes(desk: desk)
        openAI.add(to: machine)
        EmbeddingRoutes(desk: desk).add(to: machine)
        OllamaRoutes(desk: desk).add(to: machine)
        TrustlessGateway(service: service, limits: limits).add(to: machine)
        let registry = registry
        machine.get("metrics") { _, _ in
            Response.bytes(Array(registry.rendered().utf8), type: "text/plain; version=0.0.4; charset=utf-8")
        }

        let node = NodeRoutes(service: service, limits: limits)
        node.addReads(to: router.group("api/v1").add(middleware: AccessGuard(access: .machine, isLoopback: isLoopback)))
        let owner = router.group("api/v1").add(middleware: AccessGuard(access: .owner, isLoopback: isLoopback))
        node.addChanges(to: owner)
        owner.post("ask") { try await openAI.ask($0, $1) }
        owner.post("quote") { try await openAI.quote($0, $1) }
        KeyRoutes(desk: keys, limits: limits).add(to: owner)
        addSessions(to: router)
        allowed.learn(router)
        return router
    }

    private func addHealth(to router: Router<GatewayContext>) {
        let service = service
        router.get("healthz") { _, _ in Response.json(.object(["healthy": .bool(true)])) }
        router.get("readyz") { _, _ in
            let readiness = await service.readiness()
            return Response.json(
                .object([
                    "ready": .bool(readiness.isReady), "state": .string(readiness.state),
                    "sentence": .string(readiness.sentence),
                ]), status: readiness.isReady ? .ok : .serviceUnavailable)
        }
    }

    private func addSessions(to router: Router<GatewayContext>) {
        let limits = configuration.limits
        router.get("api/v1/session") { _, context in
            Response.json(.object(["authority": .string(context.authority.name)]))
        }
        router.post("api/v1/session") { [doorkeeper] request, _ in
            var request = request
            let code = try await request.json(limits).name("code", bytesMax: Secret.textBytesMax)
            guard let session = doorkeeper.exchange(code: code) else {
                throw NodeFault(
                    .unauthenticated, "this link was used already or is too old; `openledger open` prints a new one",
                    param: "code", code: "code_spent")
            }
            let seconds = limits.sessionIdle.milliseconds / 1_000
            return Response.json(.object(["token": .string(session.text), "expires_s": .integer(seconds)]))
        }
        router.delete("api/v1/session") { [doorkeeper] request, _ in
            if let bearer = request.bearer { doorkeeper.endSession(bearer: bearer) }
            return Response.json(.object(["authority": .string(Authority.none.name)]))
        }
        router.post("api/v1/session/code") { _, context in
            guard context.authority == .home else {
                throw NodeFault.tokenRequired("a login code needs the home's token or its Unix socket")
            }
            let url = self.pageURL()
            let code = url.split(separator: "=").last.map(String.init) ?? ""
            let seconds = limits.codeLife.milliseconds / 1_000
            return Response.json(
                .object(["code": .string(code), "url": .string(url), "expires_s": .integer(seconds)]))
        }
    }
}
