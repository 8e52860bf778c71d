// The fake node's JSON, read from text so that it looks as Protocol/api.md prints it.

import Gateway
import Primitives

enum FakeAnswers {
    static func answer(
        _ call: NodeCall, rows: Int, datanets: [String], isRich: Bool
    ) throws(NodeFault) -> JSONValue {
        switch call {
        case .identity:
            json(
                #"{"peer":"PEER","account":"PEER","addresses":["/ip4/127.0.0.1/tcp/4001/p2p/PEER"],"network":{"genesis":"GENESIS","name":"local","local":true},"role":"full","version":"0.1.0"}"#
            )
        case .status: json(status(isRich: isRich))
        case .peers:
            json(
                #"{"peers":[{"peer":"OTHER","address":"/ip4/192.0.2.7/tcp/4001","direction":"out","path":"direct","latency_ms":12.5,"agent":"openledger/0.1.0","connected_s":300,"bytes_in":1048576,"bytes_out":2048,"serves":["starter"]}],"known":9}"#
            )
        case .doctor:
            json(
                #"{"ok":false,"checks":[{"name":"disk","verdict":"ok","message":"88 GB free","remedy":null},{"name":"clock","verdict":"warning","message":"3 s ahead of the peers","remedy":"switch on network time"},{"name":"port","verdict":"fault","message":"4001 is taken by another program","remedy":"openledger up --listen /ip4/0.0.0.0/tcp/4002"}]}"#
            )
        case .configuration: json(#"{"settings":[{"key":"http","value":"127.0.0.1:8547","source":"default"}]}"#)
        case .lightStatus, .lightSync:
            json(
                #"{"height":128,"epoch":4,"checkpoint":{"header":"GENESIS","height":100,"age_s":3600,"expires_s":600000},"synced":true}"#
            )
        case .datanets: .object(["datanets": .array(datanets.map { datanet($0, rows: rows) }), "next": .null])
        case .datanet(let name): try known(name, datanets, rows)
        case .createDatanet(let description): datanet(description.name, rows: 0)
        case .datanetRows(_, let page): rowsPage(page)
        case .validateRows(_, let upload): validation(upload)
        case .addRows(let name, let upload): try contribution(name, upload, rows: rows)
        case .contributions:
            json(
                #"{"contributions":[{"contribution":"CID","contributor":"OTHER","rows":12,"state":"pending","created_ms":1700000000000,"reason":null}]}"#
            )
        case .contributionReport:
            json(
                #"{"contribution":"CID","contributor":"OTHER","state":"pending","report":{"rows":12,"snapshot":"CID","known_rows":3,"near_duplicates":true,"counts":{"duplicate":1,"label_flip":1},"findings":[{"code":"duplicate","row":0,"line":1,"message":"the datanet has this row already, as row 1; it earns nothing again","text":"What is mead?","with":{"row":"CID#1","index":1,"line":null,"contributor":"OTHER","text":"What is mead?"}},{"code":"label_flip","row":1,"line":2,"message":"asks what row 2 of the datanet asks; the short answer is another: \"<b>no</b>\" here, \"yes\" there","text":"Is mead sweet?","with":null}],"findings_total":2}}"#
            )
        case .datanetHealth:
            json(
                #"{"datanet":"CID","shards":4,"wanted":3,"safe":3,"copies":[0,0,1,3],"keepers_known":3,"keepers":[{"peer":"OTHER","shards":4,"connected":true},{"peer":"OTHER","shards":3,"connected":false}],"sentence":"3 of 4 shards are proved by 3 other peers."}"#
            )
        case .approveContribution:
            json(
                #"{"contribution":"CID","contributor":"OTHER","rows":12,"state":"approved","created_ms":1700000000000,"reason":null}"#
            )
        case .rejectContribution(_, _, let reason):
            .object([
                "contribution": .string(FakeNode.blockCID.text), "state": .string("rejected"),
                "reason": .string(reason),
            ])
        case .models: json(#"{"models":[MODEL],"next":null}"#)
        case .model, .setPrecision: json("MODEL")
        case .adapters: json(#"{"adapters":[ADAPTER],"next":null}"#)
        case .adapter: json("ADAPTER")
        case .publishAdapter: json("ADAPTER")
        case .estimateTraining(let wanted): estimate(wanted)
        case .accountEarnings:
            json(
                #"{"account":"PEER","height":128,"estimated":"0.00007","pending":"0.0004","settled":"1.25","penalties":"0","sources":[{"kind":"contributor","note":"contributor of the data","source":"food","estimated":"0.00007","pending":"0.0004","settled":"1.25","payments":12}],"days":[{"day_ms":1699920000000,"settled":"0.25"},{"day_ms":1700006400000,"settled":"1"}],"unpaid":[{"reason":"duplicate","rows":2}],"entries":[{"height":128,"time_ms":1700000000000,"kind":"fee_share","amount":"0.0001","sign":"+","counterparty":"OTHER","reference":"RECEIPTID","note":"contributor of the data","source":"food","receipt":"RECEIPTID"}],"next":null}"#
                    .replacing("RECEIPTID", with: FakeNode.receiptID))
        case .changeAdapter(_, let action):
            json(adapter(state: action == .unload ? "disk" : "resident"))
        case .fusions: json(#"{"fusions":[FUSION]}"#)
        case .fusion, .createFusion: json("FUSION")
        case .quote:
            json(
                #"{"model":"starter","peer":"PEER","local":true,"offers":1,"prompt_tokens":41,"counted":true,"completion_tokens_max":256,"price":{"request":"0.00001","prompt_token":"0.000001","completion_token":"0.000002"},"estimate":"0.000563","cost_max":"0.0016"}"#
            )
        case .trainings: json(#"{"runs":[RUN]}"#)
        case .training, .startTraining, .changeTraining: json("RUN")
        case .removeFusion(let name), .removeModel(let name), .removeAdapter(let name):
            .object(["name": .string(name), "removed": .bool(true)])
        case .receipts:
            json(
                #"{"receipts":[RECEIPT,{"id":"77aa0c1e5d6f8b92c4e7a1035b6d9f209c0f3a41d27e7f0b6c55e2a8d1b49f73","time_ms":1700000050000,"role":"server","payer":"OTHER","server":"PEER","model":"starter","datanet":null,"prompt_tokens":12,"completion_tokens":64,"cost":"0.00014","state":"signed","batch":null,"refusal":null}],"next":null}"#
            )
        case .receipt: json(receipt)
        case .receiptRendering: json(#"{"receipt":{"version":1}}"#)
        case .verifyBundle(let bytes): try verdict(bytes)
        case .lightVerify: try verdict(FakeNode.bundle)
        case .batches: json(#"{"batches":[BATCH],"next":null}"#)
        case .batch:
            json(
                batch.replacing(
                    "\"fees\"",
                    with: "\"receipt_ids\":[\"\(FakeNode.receiptID)\"],\"transaction_ids\":[\"GENESIS\"],\"fees\""))
        case .account:
            json(
                #"{"account":"PEER","balance":{"free":"FREE","locked":"0.5","staked":"100","pending":"0.0004","unbonding":"0","claimable":"0.25"},"nonce":7,"height":128}"#
                    .replacing("FREE", with: isRich ? "1099.5" : "99.5"))
        case .accountHistory:
            json(
                #"{"entries":[{"height":128,"time_ms":1700000000000,"kind":"fee_share","amount":"0.0001","sign":"+","counterparty":"OTHER","reference":"GENESIS","note":"contributor of food"},{"height":127,"time_ms":1699999990000,"kind":"transfer","amount":"12.5","sign":"-","counterparty":"OTHER","reference":"GENESIS","note":null}],"next":null}"#
            )
        case .transfer(_, let amount, _):
            if amount > .one.times(1_000) {
                throw NodeFault(.balance, "this account holds 99.5 OPEN", param: "amount", code: "balance")
            } else {
                json(transaction)
            }
        case .stake, .unstake, .claim, .transaction, .faucet: json(transaction)
        case .committee:
            json(
                #"{"epoch":4,"height":128,"seats":[{"peer":"PEER","seats":3,"stake":"100"},{"peer":"OTHER","seats":1,"stake":"40"}],"total_seats":4,"quorum":3,"next_epoch_height":160}"#
            )
        case .supply:
            json(
                #"{"genesis":"200","free":"99.5","locked":"0.5","staked":"100","treasury":"0","bridged":"0","burned":"0"}"#
            )
        case .connect(let address):
            if address.hasPrefix("/") {
                json(
                    #"{"peer":"OTHER","address":"/ip4/192.0.2.7/tcp/4001","direction":"out","path":"direct","latency_ms":12.5,"agent":"x","connected_s":0,"bytes_in":0,"bytes_out":0,"serves":[]}"#
                )
            } else {
                throw NodeFault(
                    .invalid, "an address begins with /ip4, /ip6 or /dns", param: "address", code: "invalid_address")
            }
        case .disconnect(let peer): .object(["peer": .string(peer), "disconnected": .bool(true)])
        case .audit(let id, _, _, _, _):
            .object(["receipt": .string(id), "holds": .bool(true)])
        case .shutdown: json(#"{"draining":true}"#)
        }
    }

    private static func json(_ text: String) -> JSONValue {
        let names = [
            "RUN": run, "MODEL": model, "ADAPTER": adapter(state: "resident"), "FUSION": fusion, "RECEIPT": receiptLine,
            "BATCH": batch, "PEER": FakeNode.peer,
            "OTHER": FakeNode.other, "CID": FakeNode.blockCID.text,
            "GENESIS": "5e1f0c7b2a9d4e8f6b3c1d0a7e5f4938271605f4e3d2c1b0a99887766554433f",
        ]
        var text = text
        for name in ["RUN", "MODEL", "ADAPTER", "FUSION", "RECEIPT", "BATCH", "PEER", "OTHER", "CID", "GENESIS"] {
            text = text.replacing(name, with: names[name] ?? "")
        }
        do { return try JSONValue.parse(text) } catch { preconditionFailure("\(error) in \(text)") }
    }

    private static func status(isRich: Bool) -> String {
        #"{"sentence":"Ready: 1 peer connected, batch 128 certified 2 s ago.","state":"ready","next":{"sentence":"Ask the starter model a question.","action":"ask"},"peer":"PEER","account":"PEER","role":"full","version":"0.1.0","uptime_s":731,"network":{"genesis":"GENESIS","name":"local","local":true,"height":128,"synced":true,"last_batch_ms":1700000000000},"balance":{"free":"FREE","locked":"0.5","staked":"100","pending":"0.0004"},"peers":{"connected":1,"known":9},"reachability":{"state":"relayed","port":4001,"remedy":"Forward TCP port 4001 of your router to this machine."},"serving":{"models":["starter"],"running":0,"queued":0},"storage":{"used_bytes":73400320,"free_bytes":88000000000}}"#
            .replacing("FREE", with: isRich ? "1099.5" : "99.5")
    }

    private static let model =
        #"{"id":"CID","name":"starter","family":"llama","parameters":5475584,"precision":"f32","context_length":512,"bytes":11000000,"held":"full","local":true,"owner":"PEER","adapters":["food"],"price":{"prompt_token":"0.000001","completion_token":"0.000002"}}"#
    private static func adapter(state: String) -> String {
        #"{"id":"CID","name":"food","model":"starter","rank":8,"alpha":16,"datanet":null,"bytes":400000,"held":"full","owner":"PEER","state":"STATE","pinned":true,"memory_bytes":400000,"running":1,"queued":2,"requests":120,"cache_hits":90,"loads":3,"load_failures":0,"last_fault":null,"last_used_ms":1700000000000,"price":{"prompt_token":"0.000001","completion_token":"0.000002","request":"0.00001"}}"#
            .replacing("STATE", with: state)
    }
    private static let fusion =
        #"{"name":"kitchen","model":"starter","adapters":[{"id":"CID","name":"food","weight":0.7},{"id":"CID","name":"anatomy","weight":-0.3}],"merge_strategy":"ties","density":0.5,"majority_sign_method":"total"}"#
    private static let run =
        #"{"run":"5f3c9d2e7a1b4c60","name":"kitchen","model":"starter","state":"paused","reason":null,"step":12,"steps":40,"loss":2.5,"precision":"f32","datanet":"CID","datanet_name":"food","settings":{"rank":"8","alpha":"16.0","lr":"0.001","batch":"8","seed":"0"},"elapsed_s":4.5,"remaining_s":10.2,"predicted":{"memory_bytes":90000000,"seconds":14.5,"measured":false},"actual":null,"eval_loss":2.6,"base_eval_loss":3.9,"adapter":null,"published":null}"#
    private static let transaction = #"{"transaction":"GENESIS","state":"pooled","batch":null,"refusal":null}"#
    private static let receiptLine =
        #"{"id":"\#(FakeNode.receiptID)","time_ms":1700000000000,"role":"payer","payer":"PEER","server":"OTHER","model":"starter:food","datanet":"food","prompt_tokens":41,"completion_tokens":10,"cost":"0.00041","state":"batched","batch":128,"refusal":null}"#
    private static let receipt =
        String(receiptLine.dropLast())
        + #","receipt":{"version":1,"genesis":"GENESIS","sequence":4,"numerics":"ol-kernels-1"},"contributors":[{"account":"PEER","ppm":620000,"amount":"0.0001271"},{"account":"OTHER","ppm":380000,"amount":"0.0000779"}],"sources":[{"row":"CID#1042","row_id":"food-1042","ppm":620000,"text":"brisket (noun): a cut of meat from the breast."}],"shares":{"server":"0.0001","model_owner":"0.00005","adapter_owners":"0.00002","contributors":"0.000205","committee":"0.00002","treasury":"0.00001","burn":"0.000005"}}"#
    private static let batch =
        #"{"height":128,"header":"GENESIS","parent":"GENESIS","view":131,"epoch":4,"time_ms":1700000000000,"builder":"PEER","receipts":1,"transactions":1,"state_root":"GENESIS","receipts_root":"GENESIS","certificate":{"signers":["PEER","OTHER"],"seats":4,"of":4},"fees":"0.0012"}"#

    private static func datanet(_ name: String, rows: Int) -> JSONValue {
        var members =
            json(
                #"{"id":"CID","summary":"Dictionary of food and drink","tags":["wordnet","nouns"],"license":"WordNet","access":"open","owner":"PEER","snapshot":"CID","bytes":812345,"contributors":[{"account":"PEER","rows":2,"ppm":620000},{"account":"OTHER","rows":1,"ppm":380000}],"pending":1,"held":"full","created_ms":1700000000000}"#
            ).memberList ?? []
        members += [JSONMember("name", .string(name)), JSONMember("rows", .integer(rows))]
        return .members(members)
    }

    private static func known(_ name: String, _ datanets: [String], _ rows: Int) throws(NodeFault) -> JSONValue {
        guard datanets.contains(name) else {
            throw NodeFault(.missing, "there is no datanet \"\(name)\"", code: "datanet_not_found")
        }
        return datanet(name, rows: rows)
    }

    private static func rowsPage(_ page: ListPage) -> JSONValue {
        let line =
            page.cursor == nil
            ? #"{"index":0,"row":"CID#0","id":"food-1","prompt":"Define gumbo.","completion":"gumbo (noun): <script>alert(1)</script> a soup or stew thickened with okra pods.","text":null,"source":"WordNet","license":"WordNet","contributor":"PEER"}"#
            : #"{"index":1,"row":"CID#1","id":"food-2","prompt":"Define brisket.","completion":"brisket (noun): a cut of meat.","text":null,"source":"WordNet","license":null,"contributor":"OTHER"}"#
        return .object([
            "rows": .array([json(line)]), "total": .integer(2), "next": page.cursor == nil ? .string("1") : .null,
        ])
    }

    private static func estimate(_ wanted: TrainingDescription) -> JSONValue {
        let isTaken = wanted.name == "food"
        let taken =
            #"{"param":"name","code":"name_taken","message":"starter has an adapter food already; with another name both can be asked for"}"#
        let full =
            #"{"param":"rank","code":"no_memory","message":"training takes 9000000000 bytes beside the weights of starter"}"#
        let isFull = wanted.rank ?? 8 > 128
        return json(
            #"{"valid":VALID,"faults":[FAULTS],"warnings":[WARNINGS],"row_faults":[],"row_faults_total":0,"name":"n","model":"starter","precision":"f32","datanet":"food","rows":3,"eval_rows":0,"row_tokens":120,"rows_cut":0,"steps":1,"parameters":312320,"memory_bytes":90000000,"memory_left_bytes":4000000000,"seconds":12.5,"measured":false,"price":"0"}"#
                .replacing("VALID", with: "\(!isFull)").replacing("FAULTS", with: isFull ? full : "")
                .replacing("WARNINGS", with: isTaken ? taken : ""))
    }

    private static func faults(_ upload: RowsUpload) -> [RowFault] {
        upload.bytes.split(separator: 0x0a).enumerated().filter { $1.contains(UInt8(ascii: "!")) }.map { index, _ in
            RowFault(
                file: upload.file, line: index + 1, field: "completion", reason: "missing",
                message:
                    "\(upload.file):\(index + 1): \"completion\" is missing; each row needs \"prompt\" and \"completion\""
            )
        }
    }

    private static func validation(_ upload: RowsUpload) -> JSONValue {
        let faults = faults(upload)
        return .object([
            "valid": .bool(faults.isEmpty), "rows": .integer(upload.bytes.split(separator: 0x0a).count),
            "duplicates": .integer(0), "faults_total": .integer(faults.count),
            "faults": .array(
                faults.map {
                    .object([
                        "file": .string($0.file), "line": .integer($0.line), "field": .string($0.field ?? ""),
                        "reason": .string($0.reason), "message": .string($0.message),
                    ])
                }),
        ])
    }

    private static func contribution(_ name: String, _ upload: RowsUpload, rows: Int) throws(NodeFault) -> JSONValue {
        let faults = faults(upload)
        guard faults.isEmpty else {
            throw NodeFault(
                .unverified, "\(faults.count) rows have faults; nothing was written", code: "rows_invalid", rows: faults
            )
        }
        return .object([
            "contribution": .string(FakeNode.blockCID.text), "rows": .integer(2), "duplicates": .integer(0),
            "state": .string("approved"), "datanet": datanet(name, rows: rows),
        ])
    }

    private static func verdict(_ bytes: [UInt8]) throws(NodeFault) -> JSONValue {
        guard bytes.first == 0xa1 else {
            throw NodeFault(
                .invalid, "these bytes are no receipt bundle: a dag-cbor map belongs there", code: "not_a_bundle")
        }
        let isGood = bytes == FakeNode.bundle
        let certificate = isGood ? "pass" : "fail"
        return json(
            #"{"verdict":"\#(isGood ? "valid" : "invalid")","receipt":"\#(FakeNode.receiptID)","batch":128,"checks":[{"name":"server signature","verdict":"pass","message":"signed by PEER"},{"name":"inclusion","verdict":"pass","message":"leaf 3 of 8 under the receipts root"},{"name":"certificate","verdict":"\#(certificate)","message":"4 of 4 seats"}],"checkpoint":{"height":100,"age_s":3600}}"#
        )
    }
}

extension Amount {
    fileprivate func times(_ factor: UInt64) -> Amount { Amount(baseUnits: baseUnits &* UInt128(factor)) }
}
