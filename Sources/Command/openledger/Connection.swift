// From a home to its API: through the socket of the peer that is up, or else through a peer of this process, opened on
// the home under its lock for as long as the command takes.

import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import Primitives

enum Connection {
    /// sun_path of Linux, with its end.
    static let socketPathBytesMax = 107

    static func withNode(
        _ options: GlobalOptions, mayOpenHome: Bool, _ body: @escaping @Sendable (APIClient) async throws -> Void
    ) async throws {
        let home = options.homePath
        let socket = try socketPath(home: home)
        if await isUp(socket) {
            try await withClient(socket, body)
        } else if mayOpenHome {
            try await peerHost.offline(home: home) { try await withClient($0, body) }
        } else {
            throw CommandFault(
                .unreachable, "no peer is running on \(home); start it with: openledger up --home \(home)")
        }
    }

    static func socketPath(home: String) throws -> String {
        let path = "\(home)/api.sock"
        guard path.utf8.count <= socketPathBytesMax else {
            throw CommandFault(
                .usage, "\(home): too long for a home; its socket's path may have \(socketPathBytesMax) bytes")
        }
        return path
    }

    /// Whether a peer answers there. A socket that a killed peer left behind refuses the connection.
    static func isUp(_ socketPath: String) async -> Bool {
        guard FileManager.default.fileExists(atPath: socketPath) else { return false }
        return (try? await withClient(socketPath) { try await $0.get("id") }) != nil
    }

    static func withClient<T: Sendable>(
        _ socketPath: String, _ body: @Sendable (APIClient) async throws -> T
    ) async throws -> T {
        var configuration = HTTPClient.Configuration()
        configuration.timeout.connect = .seconds(5)
        let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        do {
            let value = try await body(APIClient(http: http, socketPath: socketPath))
            try? await http.shutdown()
            return value
        } catch {
            try? await http.shutdown()
            throw error
        }
    }
}

/// A command that asks the node.
protocol NodeCommand: AsyncParsableCommand, Sendable {
    var global: GlobalOptions { get }
    /// Whether it makes sense without a running peer.
    static var mayOpenHome: Bool { get }
    func perform(_ node: APIClient, _ output: Output) async throws
}

extension NodeCommand {
    static var mayOpenHome: Bool { true }

    func run() async throws {
        let command = self
        let output = global.output
        try await Connection.withNode(global, mayOpenHome: Self.mayOpenHome) { try await command.perform($0, output) }
    }
}
