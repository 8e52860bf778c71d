// Where the gateway listens, whom it believes, and every limit it keeps. Protocol/api.md section 6 repeats the limits.

package import Primitives

package struct GatewayLimits: Sendable, Hashable {
    package var connectionsMax = 256
    package var requestsMax = 512
    package var eventListenersMax = 32
    package var jsonBytesMax = 1 << 20
    package var rowsBytesMax = 16 << 20
    package var bundleBytesMax = 4 << 20
    /// For routes that read no body.
    package var strayBytesMax = 16 << 10
    package var pathBytesMax = 2_048
    package var messagesMax = 256
    package var promptsMax = 16
    package var promptTokensMax = 131_072
    package var choicesMax = 8
    package var stopsMax = 16
    package var embeddingInputsMax = 256
    package var mergedAdaptersMax = 8
    package var grammarBytesMax = 64 << 10
    package var logProbabilitiesMax = 20
    package var faultsShownMax = 100
    package var carBlocksMax = 65_536
    package var sessionsMax = 64
    package var codesMax = 16
    package var sessionIdle = Span.seconds(12 * 3_600)
    package var codeLife = Span.seconds(3_600)
    package var idleConnectionSeconds: Int64 = 60
    /// What a drain waits for answers that are under way.
    package var drainSeconds: Int64 = 10

    package init() {}
}

package struct GatewayConfiguration: Sendable {
    /// An address to bind, `127.0.0.1`, `::1`, `localhost`, or one that others reach.
    package var host: String
    /// 0: any free port.
    package var port: Int
    /// Further names that clients may use in `Host`, each with its port: `peer.example.org:443`.
    package var allowedHosts: [String] = []
    /// The Unix socket; nil for none.
    package var socketPath: String?
    package var homeToken: HomeToken
    /// SHA-256 of each API key's text.
    package var apiKeyDigests: Set<Digest> = []
    /// Where keys that the owner makes while the peer runs are kept; nil: they are gone with the process.
    package var keyStore: (any APIKeyStore)?
    /// For someone who edits the page: its files are read from this folder at every request.
    package var pageFolder: String?
    package var limits = GatewayLimits()

    package init(host: String, port: Int, socketPath: String?, homeToken: HomeToken) {
        self.host = host
        self.port = port
        self.socketPath = socketPath
        self.homeToken = homeToken
    }

    /// Whether only programs on this machine reach the TCP listener.
    var isLoopback: Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.") && host.split(separator: ".").count == 4
    }
}

/// Why the gateway does not start.
package enum GatewayFault: Error, Sendable, Hashable, CustomStringConvertible {
    case apiKeyNeeded(host: String)
    case tokenFile(path: String, reason: String)
    case cannotListen(address: String, reason: String)
    case keys(reason: String)

    package var description: String {
        switch self {
        case .apiKeyNeeded(let host):
            "the HTTP address \(host) is reachable from other machines, so it needs an API key: set http.keys, or listen on 127.0.0.1"
        case .tokenFile(let path, let reason):
            "the token file \(path): \(reason)"
        case .cannotListen(let address, let reason):
            "cannot listen on \(address): \(reason)"
        case .keys(let reason):
            "the API keys cannot be read: \(reason)"
        }
    }
}
