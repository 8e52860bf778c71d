import Gateway
import Primitives
import Synchronization
import Testing

@Suite(.serialized) struct NodeRoutesTests {
    private static let token = TestGateway.token.text

    @Test func everyReadReachesItsCall() async throws {
        try await TestGateway.with { (peer) async throws in
            let reads: [(String, NodeCall)] = [
                ("id", .identity), ("status", .status), ("peers", .peers), ("doctor", .doctor),
                ("config", .configuration),
                ("light", .lightStatus), ("committee", .committee), ("supply", .supply),
                ("datanets?limit=7&cursor=abc", .datanets(ListPage(limit: 7, cursor: "abc"))),
                ("datanets/food", .datanet("food")), ("datanets/food/rows", .datanetRows("food", ListPage())),
                ("datanets/food/contributions", .contributions(datanet: "food")), ("models", .models(ListPage())),
                ("datanets/food/health", .datanetHealth("food")),
                (
                    "datanets/food/contributions/bafy/report",
                    .contributionReport(datanet: "food", contribution: "bafy")
                ),
                ("models/starter", .model("starter")), ("adapters", .adapters(ListPage())),
                ("adapters/food", .adapter("food")), ("fusions", .fusions), ("fusions/kitchen", .fusion("kitchen")),
                ("trainings", .trainings), ("trainings/5f3c", .training("5f3c")),
                ("receipts", .receipts(ListPage())), ("receipts/abc", .receipt("abc")),
                ("batches", .batches(ListPage())),
                ("batches/12", .batch(height: 12)), ("accounts/me", .account("me")),
                ("accounts/me/history", .accountHistory("me", ListPage())),
                ("accounts/me/earnings?limit=5", .accountEarnings("me", ListPage(limit: 5))),
                ("transactions/ff", .transaction("ff")), ("receipts/abc/bundle?format=json", .receiptRendering("abc")),
            ]
            for (path, call) in reads {
                let answer = try await peer.ask("GET", "/api/v1/\(path)")
                #expect(answer.status == 200, "\(path): \(answer.text)")
                #expect(peer.node.notes.withLock { $0.calls.last } == call, "\(path)")
                #expect(answer.header("cache-control") == "no-store")
                #expect(answer.header("x-request-id") != nil)
            }
            for path in ["batches/x", "batches/-1", "receipts?limit=0", "receipts?limit=201", "receipts?limit=x"] {
                #expect(try await peer.ask("GET", "/api/v1/\(path)").status == 400, "\(path)")
            }
            #expect(try await peer.ask("GET", "/api/v1/nothing").code() == "no_route")
            #expect(try await peer.ask("GET", "/api/v1/datanets/%ff").status == 404)
        }
    }

    @Test func everyChangeReachesItsCall() async throws {
        try await TestGateway.with { (peer) async throws in
            let one = try #require(Amount(text: "1.5"))
            let changes: [(String, String, String?, NodeCall, Int)] = [
                ("POST", "peers", #"{"address":"/ip4/1.2.3.4/tcp/1"}"#, .connect(address: "/ip4/1.2.3.4/tcp/1"), 200),
                ("DELETE", "peers/12D3", nil, .disconnect(peer: "12D3"), 200),
                ("POST", "adapters/food/load", nil, .changeAdapter("food", .load), 200),
                ("POST", "adapters/food/unload", nil, .changeAdapter("food", .unload), 200),
                ("POST", "adapters/food/pin", nil, .changeAdapter("food", .pin), 200),
                ("POST", "adapters/food/unpin", nil, .changeAdapter("food", .unpin), 200),
                ("POST", "adapters/food/publish", nil, .publishAdapter("food"), 200),
                (
                    "POST", "fusions",
                    #"{"name":"k","model":"starter","merged_adapters":{"ids":["food","anatomy"],"weights":[0.7,-0.3]}}"#,
                    .createFusion(
                        FusionDescription(
                            name: "k", model: "starter",
                            merge: AdapterMerge(adapters: ["food", "anatomy"], weights: [0.7, -0.3]))), 201
                ),
                ("DELETE", "fusions/k", nil, .removeFusion("k"), 200),
                ("POST", "trainings/5f3c/pause", nil, .changeTraining("5f3c", .pause), 200),
                ("POST", "trainings/5f3c/resume", nil, .changeTraining("5f3c", .resume), 200),
                ("POST", "trainings/5f3c/cancel", nil, .changeTraining("5f3c", .cancel), 200),
                ("POST", "light/sync", nil, .lightSync(checkpoint: nil), 200),
                (
                    "POST", "datanets", #"{"name":"n","license":"l","tags":["a"],"access":"approval"}"#,
                    .createDatanet(
                        DatanetDescription(name: "n", summary: "", tags: ["a"], license: "l", access: .approval)), 201
                ),
                (
                    "POST", "datanets/food/contributions/c1/approve", nil,
                    .approveContribution(datanet: "food", contribution: "c1"), 200
                ),
                (
                    "POST", "datanets/food/contributions/c1/reject", #"{"reason":"no"}"#,
                    .rejectContribution(datanet: "food", contribution: "c1", reason: "no"), 200
                ),
                ("DELETE", "models/starter", nil, .removeModel("starter"), 200),
                (
                    "POST", "receipts/9c/audit", nil,
                    .audit(receipt: "9c", peer: nil, here: false, publish: false, attribution: false), 200
                ),
                (
                    "POST", "receipts/9c/audit", #"{"peer":"12D3","publish":true}"#,
                    .audit(receipt: "9c", peer: "12D3", here: false, publish: true, attribution: false), 200
                ),
                ("DELETE", "adapters/food", nil, .removeAdapter("food"), 200),
                (
                    "POST", "models/starter/precision", #"{"precision":"int8"}"#,
                    .setPrecision(model: "starter", "int8"), 200
                ),
                (
                    "POST", "models/starter/precision", #"{"precision":null}"#, .setPrecision(model: "starter", nil),
                    200
                ),
                (
                    "POST", "accounts/me/transfer", #"{"to":"12D3","amount":"1.5"}"#,
                    .transfer(to: "12D3", one, wait: false), 202
                ),
                (
                    "POST", "accounts/me/transfer", #"{"to":"12D3","amount":"1.5","wait":true}"#,
                    .transfer(to: "12D3", one, wait: true), 200
                ),
                ("POST", "accounts/me/stake", #"{"amount":"1.5"}"#, .stake(one, wait: false), 202),
                ("POST", "accounts/me/unstake", #"{"amount":"1.5"}"#, .unstake(one, wait: false), 202),
                ("POST", "accounts/me/claim", nil, .claim(wait: false), 202),
                ("POST", "faucet", nil, .faucet(account: nil), 202), ("POST", "shutdown", nil, .shutdown, 202),
            ]
            for (method, path, body, call, status) in changes {
                let answer = try await peer.ask(method, "/api/v1/\(path)", body, token: Self.token)
                #expect(answer.status == status, "\(path): \(answer.text)")
                #expect(peer.node.notes.withLock { $0.calls.last } == call, "\(path)")
            }
            #expect(
                try await peer.ask("POST", "/api/v1/accounts/12D3/stake", #"{"amount":"1"}"#, token: Self.token).status
                    == 403)
            for amount in [#""0""#, #""-1""#, #""1.0000000000000000001""#, "1.5", #""x""#] {
                let answer = try await peer.ask(
                    "POST", "/api/v1/accounts/me/stake", #"{"amount":\#(amount)}"#, token: Self.token)
                #expect(answer.status == 400, "\(amount)")
                #expect(try answer.param() == "amount")
            }
            let rich = try await peer.ask(
                "POST", "/api/v1/accounts/me/transfer", #"{"to":"12D3","amount":"5000"}"#, token: Self.token)
            #expect(rich.status == 402)
            #expect(
                try await peer.ask("POST", "/api/v1/models", #"{"path":"relative","name":"n"}"#, token: Self.token)
                    .param() == "path")
        }
    }

    @Test func rowsWithFaultsNameThem() async throws {
        try await TestGateway.with { (peer) async throws in
            let type = ["Content-Type": "application/x-ndjson"]
            let good = try await peer.ask(
                "POST", "/api/v1/datanets/food/rows?file=a.jsonl&license=CC0", "{}\n{}\n", token: Self.token,
                headers: type)
            #expect(good.status == 201)
            let upload = RowsUpload(file: "a.jsonl", bytes: Array("{}\n{}\n".utf8), license: "CC0")
            #expect(peer.node.notes.withLock { $0.calls.last } == .addRows(datanet: "food", upload))
            let bad = try await peer.ask(
                "POST", "/api/v1/datanets/food/rows?file=a.jsonl", "{}\n{!}\n", token: Self.token, headers: type)
            #expect(bad.status == 422)
            let fault = try bad.json()["error"]?["details"]?["faults"]?.items?.first
            #expect(fault?["line"]?.integer == 2)
            #expect(fault?["message"]?.text?.hasPrefix("a.jsonl:2:") == true)
            let checked = try await peer.ask(
                "POST", "/api/v1/datanets/food/validate?file=a.jsonl", "{!}\n", headers: type)
            #expect(checked.status == 200)
            #expect(try checked.json()["valid"]?.flag == false)
        }
    }

    @Test func askStreamsItsEvents() async throws {
        try await TestGateway.with { (peer) async throws in
            let answer = try await peer.ask(
                "POST", "/api/v1/ask", #"{"prompt":"Define brisket.","datanet":"food"}"#, token: Self.token)
            let events = try answer.lines.map { try JSONValue.parse($0) }
            #expect(events.first?["event"]?.text == "served_by")
            #expect(events.compactMap { $0["text"]?.text }.joined() == FakeNode.answer.joined())
            #expect(events.suffix(3).compactMap { $0["event"]?.text } == ["sources", "receipt", "done"])
            #expect(events.last?["usage"]?["completion_tokens"]?.integer == 10)
            #expect(peer.node.notes.withLock { $0.requests.last?.maySpend } == true)
            let broken = try await peer.ask(
                "POST", "/api/v1/ask", #"{"prompt":"x","model":"broken"}"#, token: Self.token)
            #expect(try JSONValue.parse(broken.lines.last ?? "")["event"]?.text == "error")
            let both = #"{"prompt":"x","messages":[{"role":"user","content":"y"}]}"#
            #expect(try await peer.ask("POST", "/api/v1/ask", both, token: Self.token).param() == "prompt")
        }
    }

    @Test func streamsOfCalls() async throws {
        try await TestGateway.with { (peer) async throws in
            let pulled = try await peer.ask("POST", "/api/v1/datanets/food/pull", token: Self.token)
            #expect(try JSONValue.parse(pulled.lines.last ?? "")["event"]?.text == "done")
            #expect(peer.node.notes.withLock { $0.streams.last } == .pullDatanet("food", peer: nil))
            let imported = try await peer.ask(
                "POST", "/api/v1/models", #"{"path":"/m","name":"n","precision":"int8"}"#, token: Self.token)
            #expect(imported.lines.count == 4)
            #expect(
                peer.node.notes.withLock { $0.streams.last } == .importModel(path: "/m", name: "n", precision: "int8"))
            #expect(try await peer.ask("GET", "/api/v1/datanets/food/export").lines.count == 1)
        }
    }

    @Test func trainingsAreAskedForInFull() async throws {
        try await TestGateway.with { (peer) async throws in
            func last() -> NodeStreamCall? { peer.node.notes.withLock { $0.streams.last } }
            let least = try await peer.ask(
                "POST", "/api/v1/trainings", #"{"name":"n","model":"starter","datanet":"food"}"#, token: Self.token)
            #expect(try JSONValue.parse(least.lines.last ?? "")["event"]?.text == "done")
            var wanted = TrainingDescription(name: "n", model: "starter")
            wanted.datanet = "food"
            #expect(last() == .train(wanted))
            _ = try await peer.ask(
                "POST", "/api/v1/trainings",
                #"{"name":"n","model":"m","rows":"/r","eval_rows":"/e","init":"/i","out":"/o","precision":"int8","rank":4,"#
                    + #""alpha":3.5,"rslora":true,"steps":9,"batch":2,"lr":0.01,"schedule":"cosine","warmup":1,"#
                    + #""weight_decay":0,"betas":[0.8,0.95],"eps":1e-6,"clip":1,"seed":7,"shuffle":false,"eval_every":3}"#,
                token: Self.token)
            wanted = TrainingDescription(name: "n", model: "m")
            (wanted.rows, wanted.evaluationRows, wanted.initial, wanted.out) = ("/r", "/e", "/i", "/o")
            (wanted.precision, wanted.rank, wanted.alpha, wanted.rootScaled) = ("int8", 4, 3.5, true)
            (wanted.steps, wanted.batch, wanted.learningRate, wanted.schedule) = (9, 2, 0.01, "cosine")
            (wanted.warmup, wanted.weightDecay, wanted.betas, wanted.epsilon) = (1, 0, [0.8, 0.95], 1e-6)
            (wanted.clip, wanted.seed, wanted.shuffles, wanted.evaluationSteps) = (1, 7, false, 3)
            #expect(last() == .train(wanted))
            #expect(try await peer.ask("GET", "/api/v1/trainings/5f3c/events").lines.count == 4)
            #expect(last() == .trainingEvents("5f3c"))
            // The same fields, and nothing is started.
            let body = #"{"name":"food","model":"starter","datanet":"food","rank":256,"eval_nth":10,"publish":false}"#
            let estimate = try await peer.ask("POST", "/api/v1/trainings/estimate", body, token: Self.token)
            #expect(estimate.status == 200 && last() == .trainingEvents("5f3c"))
            #expect(try estimate.json()["valid"]?.flag == false)
            wanted = TrainingDescription(name: "food", model: "starter")
            (wanted.datanet, wanted.rank, wanted.heldOutEvery, wanted.publishes) = ("food", 256, 10, false)
            #expect(peer.node.notes.withLock { $0.calls.last } == .estimateTraining(wanted))
            // Started, and not followed.
            let started = try await peer.ask(
                "POST", "/api/v1/trainings", String(body.dropLast()) + #","follow":false}"#, token: Self.token)
            #expect(try started.status == 202 && started.json()["state"]?.text == "paused")
            #expect(peer.node.notes.withLock { $0.calls.last } == .startTraining(wanted))
            _ = try await peer.ask(
                "POST", "/api/v1/adapters/food/eval", #"{"rows":"/held","answers":5}"#, token: Self.token)
            #expect(
                last()
                    == .evaluateAdapter(
                        EvaluationDescription(adapter: "food", rows: "/held", answers: 5, precision: nil)))
        }
    }

    @Test func badTrainingsAreNamed() async throws {
        try await TestGateway.with { (peer) async throws in
            let bad: [(String, String)] = [
                (#"{"model":"m","rows":"/r"}"#, "name"), (#"{"name":"n","rows":"/r"}"#, "model"),
                (#"{"name":"n","model":"m"}"#, "rows"),
                (#"{"name":"n","model":"m","rows":"/r","datanet":"d"}"#, "rows"),
                (#"{"name":"n","model":"m","rows":"r"}"#, "rows"),
            ]
            let values: [(String, [String])] = [
                ("rank", ["0", "257", "1.5", #""8""#]), ("alpha", ["1e7"]), ("epochs", ["0", "1e5"]),
                ("steps", ["0", "1000001"]), ("batch", ["0", "4097"]), ("lr", ["-1", "101"]), ("warmup", ["-1"]),
                ("weight_decay", ["-0.1"]), ("betas", ["[0.9]", "[0.9,1]", "[1,2,3]", "0.9"]), ("eps", ["0"]),
                ("clip", ["-1"]), ("seed", ["-1"]), ("shuffle", ["1"]), ("eval_every", ["-1"]), ("init", [#""i""#]),
                ("out", [#""o""#]), ("eval_rows", [#""e""#]), ("eval_nth", ["-1", "1", "1001"]), ("publish", ["1"]),
            ]
            let single = values.flatMap { key, values in
                values.map { (#"{"name":"n","model":"m","rows":"/r","\#(key)":\#($0)}"#, key) }
            }
            for (body, param) in bad + single {
                let answer = try await peer.ask("POST", "/api/v1/trainings", body, token: Self.token)
                #expect(answer.status == 400, "\(body): \(answer.text)")
                #expect(try answer.param() == param, "\(body): \(answer.text)")
            }
            let both = #"{"name":"n","model":"m","rows":"/r","steps":1,"epochs":1}"#
            #expect(try await peer.ask("POST", "/api/v1/trainings", both, token: Self.token).param() == "steps")
            #expect(
                try await peer.ask("POST", "/api/v1/adapters/food/eval", "{}", token: Self.token).param() == "rows")
            #expect(peer.node.notes.withLock { $0.streams.isEmpty })
            let twice = #"{"name":"n","model":"m","rows":"/r","eval_rows":"/e","eval_nth":10}"#
            #expect(
                try await peer.ask("POST", "/api/v1/trainings/estimate", twice, token: Self.token).param() == "eval_nth"
            )
            // Whoever has no token changes nothing, and learns nothing of this machine's files.
            let wanted = #"{"name":"n","model":"m","rows":"/r"}"#
            #expect(try await peer.ask("POST", "/api/v1/trainings", wanted).status == 401)
            #expect(try await peer.ask("POST", "/api/v1/trainings/estimate", wanted).status == 401)
            for action in TrainingAction.allCases {
                #expect(try await peer.ask("POST", "/api/v1/trainings/5f3c/\(action.rawValue)").status == 401)
            }
            #expect(try await peer.ask("POST", "/api/v1/trainings/5f3c/burn", token: Self.token).code() == "no_route")
        }
    }

    /// A run's lines as server-sent events: numbered, gone on with, and a state of now without a number.
    @Test func aRunIsFollowedByItsNumberedEvents() async throws {
        try await TestGateway.with { (peer) async throws in
            let path = "/api/v1/trainings/5f3c/events"
            let whole = try await peer.ask("GET", path, headers: ["Accept": "text/event-stream"])
            #expect(whole.header("content-type") == "text/event-stream")
            let blocks = whole.text.split(separator: "\n\n").map(String.init)
            #expect(blocks.count == 4 && blocks[0].hasPrefix("id: 1\nevent: progress\ndata: {\"event\":\"progress\""))
            #expect(blocks[3].hasPrefix("id: 4\nevent: done\n"))
            let rest = try await peer.ask(
                "GET", path, headers: ["Accept": "text/html, text/event-stream;q=0.9", "Last-Event-ID": "2"])
            #expect(rest.text == blocks[2...].map { $0 + "\n\n" }.joined())
            // What is no number of ours is as if there were none.
            let strange = try await peer.ask(
                "GET", path, headers: ["Accept": "text/event-stream", "Last-Event-ID": "two"])
            #expect(strange.text == whole.text)
            let paused = try await peer.ask(
                "GET", "/api/v1/trainings/paused/events",
                headers: ["Accept": "text/event-stream", "Last-Event-ID": "7"])
            #expect(paused.text.hasPrefix("event: done\ndata: {\"event\":\"done\",\"state\":\"paused\""))
        }
    }

    @Test func eventsComeAsTheyHappenAndADrainEndsThem() async throws {
        try await TestGateway.with { (peer) async throws in
            let connection = try RawConnection(port: peer.address.port)
            try connection.send(peer.request("GET", "/api/v1/events"))
            var line = ""
            while !line.hasPrefix("data: ") { line = try await connection.line() }
            #expect(line == #"data: {"height":128}"#)
        }
    }

    @Test func bundlesAreFilesAndAreVerified() async throws {
        try await TestGateway.with { (peer) async throws in
            let bundle = try await peer.ask("GET", "/api/v1/receipts/\(FakeNode.receiptID)/bundle")
            #expect(bundle.body == FakeNode.bundle)
            #expect(bundle.header("content-type") == "application/vnd.ipld.dag-cbor")
            let type = ["Content-Type": "application/vnd.ipld.dag-cbor"]
            let verdict = try await peer.ask(
                "POST", "/api/v1/receipts/verify", String(decoding: "not a bundle".utf8, as: UTF8.self), headers: type)
            #expect(verdict.status == 400)
            #expect(try verdict.code() == "not_a_bundle")
            #expect(try await peer.ask("POST", "/api/v1/receipts/verify", "", headers: type).code() == "not_a_bundle")
        }
    }

    @Test func limitsHold() async throws {
        var limits = GatewayLimits()
        limits.requestsMax = 2
        limits.rowsBytesMax = 64
        try await TestGateway.with(limits: limits) { (peer) async throws in
            let type = ["Content-Type": "application/x-ndjson"]
            let rows = String(repeating: "x", count: 65)
            #expect(
                try await peer.ask("POST", "/api/v1/datanets/food/rows", rows, token: Self.token, headers: type).status
                    == 413)
            #expect(try await peer.ask("GET", "/api/v1/status?a=\(String(repeating: "x", count: 3_000))").status == 413)
            var held: [RawConnection] = []
            for _ in 0..<2 {
                let connection = try RawConnection(port: peer.address.port)
                try connection.send(peer.request("GET", "/api/v1/events"))
                #expect(try await connection.line().contains("200"))
                held.append(connection)
            }
            let full = try await peer.ask("GET", "/api/v1/status")
            #expect(full.status == 503)
            #expect(full.header("retry-after") == "1")
            for connection in held { connection.shut() }
            var status = 503
            for _ in 0..<100 where status == 503 {
                try await Task.sleep(for: .milliseconds(20))
                status = try await peer.ask("GET", "/api/v1/status").status
            }
            #expect(status == 200)
        }
    }
}
