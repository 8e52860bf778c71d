import Gateway
import Logging
import Primitives
import Synchronization
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Who may do what: Protocol/api.md section 2, cell by cell.
@Suite(.serialized) struct AccessTests {
    static let chat = #"{"model":"starter","messages":[{"role":"user","content":"hi"}]}"#

    @Test func hostMustBeOneOfOurOwn() async throws {
        try await TestGateway.with { (peer) async throws in
            let port = peer.address.port
            for host in ["127.0.0.1:\(port)", "localhost:\(port)", "[::1]:\(port)", "LOCALHOST:\(port)"] {
                #expect(try await peer.ask("GET", "/api/v1/status", headers: ["Host": host]).status == 200, "\(host)")
            }
            for host in [
                "evil.example", "127.0.0.1", "localhost:1", "127.0.0.1:\(port).evil.example", "evil.example:\(port)",
            ] {
                let answer = try await peer.ask("GET", "/api/v1/status", headers: ["Host": host])
                #expect(answer.status == 403, "\(host)")
                #expect(try answer.code() == "host_not_allowed")
            }
            let doubled = try RawConnection(port: port)
            try doubled.send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nHost: evil.example\r\n\r\n")
            #expect(try await doubled.answer().status == 400)
            let missing = try RawConnection(port: port)
            try missing.send("GET /healthz HTTP/1.1\r\n\r\n")
            #expect(try await missing.answer().status == 400)
        }
    }

    @Test func pagesOfOtherSitesAreRefused() async throws {
        try await TestGateway.with { (peer) async throws in
            let own = "http://\(peer.host)"
            #expect(
                try await peer.ask("POST", "/v1/chat/completions", Self.chat, headers: ["Origin": own]).status == 200)
            for origin in [
                "http://evil.example", "null", "https://\(peer.host)", "http://127.0.0.1:1", "x\(own)",
                "\(own).evil.example",
            ] {
                let answer = try await peer.ask("POST", "/v1/chat/completions", Self.chat, headers: ["Origin": origin])
                #expect(answer.status == 403, "\(origin)")
                #expect(try answer.code() == "origin_not_allowed")
                #expect(answer.header("access-control-allow-origin") == nil)
            }
            let preflight = try await peer.ask("OPTIONS", "/api/v1/ask", headers: ["Origin": "http://evil.example"])
            #expect(preflight.status == 403)
            for site in ["cross-site", "same-site"] {
                #expect(try await peer.ask("GET", "/api/v1/status", headers: ["Sec-Fetch-Site": site]).status == 403)
                let load = ["Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"]
                #expect(try await peer.ask("GET", "/", headers: load).status == 200)
                #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat, headers: load).status == 403)
            }
            #expect(
                try await peer.ask("GET", "/api/v1/status", headers: ["Sec-Fetch-Site": "same-origin"]).status == 200)
        }
    }

    @Test func bodiesNeedTheirContentType() async throws {
        try await TestGateway.with { (peer) async throws in
            for type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
                let answer = try await peer.ask(
                    "POST", "/v1/chat/completions", Self.chat, headers: ["Content-Type": type])
                #expect(answer.status == 415, "\(type)")
            }
            let charset = ["Content-Type": "application/json; charset=utf-8"]
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat, headers: charset).status == 200)
            let rows = try await peer.ask("POST", "/api/v1/datanets/food/rows", "{}", token: TestGateway.token.text)
            #expect(rows.status == 415)
        }
    }

    @Test func onLoopbackReadingIsFreeAndChangingNeedsTheToken() async throws {
        try await TestGateway.with { (peer) async throws in
            for path in ["/v1/models", "/api/v1/status", "/api/v1/receipts", "/metrics", "/healthz", "/readyz", "/"] {
                #expect(try await peer.ask("GET", path).status == 200, "\(path)")
            }
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat, token: "sk-anything").status == 200)
            let changes = [
                ("POST", "/api/v1/ask", #"{"prompt":"hi"}"#),
                ("POST", "/api/v1/accounts/me/transfer", #"{"to":"x","amount":"1"}"#),
                ("POST", "/api/v1/datanets", #"{"name":"n","license":"l"}"#), ("POST", "/api/v1/shutdown", "{}"),
                ("POST", "/api/v1/models", #"{"path":"/m","name":"n"}"#), ("DELETE", "/api/v1/models/starter", nil),
                ("POST", "/api/v1/faucet", "{}"), ("POST", "/api/v1/session/code", "{}"),
            ]
            for (method, path, body) in changes {
                for token in [nil, "sk-anything", TestGateway.apiKey] {
                    let answer = try await peer.ask(method, path, body, token: token)
                    #expect(answer.status == 401, "\(path) \(token ?? "")")
                    #expect(try answer.code() == "token_required")
                    #expect(answer.header("www-authenticate") == "Bearer")
                }
                let wrong = try await peer.ask(method, path, body, token: "olt_" + String(repeating: "x", count: 43))
                #expect(wrong.status == 401)
                let right = try await peer.ask(method, path, body, token: TestGateway.token.text)
                #expect((200..<300).contains(right.status), "\(path): \(right.text)")
                #expect(
                    try await (200..<300).contains(peer.ask(method, path, body, overSocket: true).status), "\(path)")
            }
        }
    }

    @Test func spendingThroughOpenAIRoutesNeedsTheToken() async throws {
        try await TestGateway.with { (peer) async throws in
            let remote = #"{"model":"remote","messages":[{"role":"user","content":"hi"}]}"#
            for token in [nil, "sk-anything", TestGateway.apiKey] {
                let answer = try await peer.ask("POST", "/v1/chat/completions", remote, token: token)
                #expect(answer.status == 401)
                #expect(try answer.code() == "token_required")
            }
            #expect(
                try await peer.ask("POST", "/v1/chat/completions", remote, token: TestGateway.token.text).status == 200)
            #expect(try await peer.ask("POST", "/v1/chat/completions", remote, overSocket: true).status == 200)
        }
    }

    @Test func beyondLoopbackEverythingNeedsAKey() async throws {
        try await TestGateway.with(bind: "0.0.0.0") { (peer) async throws in
            for path in ["/v1/models", "/api/v1/status", "/metrics", "/ipfs/\(FakeNode.blockCID.text)"] {
                #expect(try await peer.ask("GET", path).status == 401, "\(path)")
                #expect(try await peer.ask("GET", path, token: "sk-anything").status == 401)
                #expect(try await peer.ask("GET", path, token: TestGateway.apiKey).status == 200, "\(path)")
                #expect(try await peer.ask("GET", path, token: TestGateway.token.text).status == 200)
            }
            for path in ["/healthz", "/readyz", "/", "/app.js"] {
                #expect(try await peer.ask("GET", path).status == 200)
            }
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat).status == 401)
            #expect(
                try await peer.ask("POST", "/v1/chat/completions", Self.chat, token: TestGateway.apiKey).status == 200)
            #expect(peer.node.notes.withLock { $0.requests.last?.tenant?.count } == 16)
            #expect(try await peer.ask("POST", "/api/v1/shutdown", "{}", token: TestGateway.apiKey).status == 401)
        }
    }

    @Test func anOpenAddressWithoutAKeyDoesNotStart() {
        let configuration = GatewayConfiguration(
            host: "0.0.0.0", port: 0, socketPath: nil, homeToken: TestGateway.token)
        #expect(throws: GatewayFault.apiKeyNeeded(host: "0.0.0.0")) {
            try HTTPGateway(
                configuration: configuration, service: FakeNode(), registry: PrometheusRegistry(),
                logger: .init(label: "test"))
        }
    }

    @Test func aCodeOpensOneSessionOnce() async throws {
        try await TestGateway.with { (peer) async throws in
            let code = String(peer.address.pageURL.split(separator: "=").last ?? "")
            #expect(code.hasPrefix("olc_"))
            let body = #"{"code":"\#(code)"}"#
            let opened = try await peer.ask("POST", "/api/v1/session", body)
            let session = try opened.json()["token"]?.text
            #expect(session?.hasPrefix("ols_") == true)
            #expect(try await peer.ask("POST", "/api/v1/session", body).code() == "code_spent")
            #expect(try await peer.ask("GET", "/api/v1/session", token: session).json()["authority"]?.text == "session")
            #expect(try await peer.ask("POST", "/api/v1/faucet", "{}", token: session).status == 202)
            #expect(try await peer.ask("POST", "/api/v1/session/code", "{}", token: session).code() == "token_required")
            #expect(try await peer.ask("DELETE", "/api/v1/session", token: session).status == 200)
            #expect(try await peer.ask("GET", "/api/v1/status", token: session).code() == "invalid_token")
            let minted = try await peer.ask("POST", "/api/v1/session/code", "{}", overSocket: true).json()
            let again = #"{"code":"\#(minted["code"]?.text ?? "")"}"#
            #expect(try await peer.ask("POST", "/api/v1/session", again).status == 200)
        }
    }

    @Test func aTokenInTheQueryIsRefused() async throws {
        try await TestGateway.with { (peer) async throws in
            #expect(
                try await peer.ask("GET", "/api/v1/status?token=\(TestGateway.token.text)").code() == "token_in_query")
        }
    }

    @Test func theSocketIsTheOwnersAlone() async throws {
        try await TestGateway.with { (peer) async throws in
            var status = stat()
            #expect(stat(peer.address.socketPath ?? "", &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            #expect(
                try await peer.ask("GET", "/api/v1/session", headers: ["Host": "anything"], overSocket: true).json()[
                    "authority"]?.text == "home")
        }
    }

    @Test func theTokenFileIsMadeOnceAndKeptPrivate() throws {
        let path = "/tmp/openledger-token-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        defer { unlink(path) }
        let made = try HomeToken.load(orCreateAt: path)
        #expect(made.text.hasPrefix("olt_") && made.text.utf8.count == 47)
        #expect(try HomeToken.load(orCreateAt: path) == made)
        chmod(path, 0o644)
        #expect(throws: GatewayFault.self) { try HomeToken.load(orCreateAt: path) }
        chmod(path, 0o600)
        truncate(path, 10)
        #expect(throws: GatewayFault.self) { try HomeToken.load(orCreateAt: path) }
    }
}
