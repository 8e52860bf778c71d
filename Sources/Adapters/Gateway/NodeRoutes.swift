// `/api/v1/…`: one resource a noun of the command line. Each line here is a path, the fields it reads, and the call that
// it becomes; nothing is decided.

import HTTPTypes
import Hummingbird
import NIOCore
import Primitives
import ServiceLifecycle

struct NodeRoutes: Sendable {
    let service: any NodeService
    let limits: GatewayLimits
    let eventAdmission: Admission

    init(service: any NodeService, limits: GatewayLimits) {
        self.service = service
        self.limits = limits
        eventAdmission = Admission(countMax: limits.eventListenersMax)
    }

    // MARK: Reads

    func addReads(to group: RouterGroup<GatewayContext>) {
        let plain: [(String, NodeCall)] = [
            ("id", .identity), ("status", .status), ("peers", .peers), ("doctor", .doctor), ("config", .configuration),
            ("light", .lightStatus), ("committee", .committee), ("supply", .supply), ("fusions", .fusions),
            ("trainings", .trainings),
        ]
        for (path, call) in plain {
            group.get(RouterPath(path)) { _, _ in Response.json(try await service.perform(call)) }
        }
        let lists: [(String, @Sendable (ListPage) -> NodeCall)] = [
            ("datanets", { .datanets($0) }), ("models", { .models($0) }), ("adapters", { .adapters($0) }),
            ("receipts", { .receipts($0) }), ("batches", { .batches($0) }),
        ]
        for (path, call) in lists {
            group.get(RouterPath(path)) { request, _ in Response.json(try await service.perform(call(request.page()))) }
        }
        let named: [(String, @Sendable (String) -> NodeCall)] = [
            ("datanets/:name", { .datanet($0) }), ("datanets/:name/contributions", { .contributions(datanet: $0) }),
            ("datanets/:name/health", { .datanetHealth($0) }),
            ("models/:name", { .model($0) }), ("adapters/:name", { .adapter($0) }),
            ("fusions/:name", { .fusion($0) }), ("trainings/:name", { .training($0) }),
            ("accounts/:name", { .account($0) }),
            ("transactions/:name", { .transaction($0) }), ("receipts/:name", { .receipt($0) }),
        ]
        for (path, call) in named {
            group.get(RouterPath(path)) { _, context in
                Response.json(try await service.perform(call(context.name("name"))))
            }
        }
        group.get("datanets/:name/rows") { request, context in
            Response.json(try await service.perform(.datanetRows(context.name("name"), request.page())))
        }
        group.get("datanets/:name/contributions/:contribution/report") { _, context in
            let call = NodeCall.contributionReport(
                datanet: try context.name("name"), contribution: try context.name("contribution"))
            return Response.json(try await service.perform(call))
        }
        group.get("trainings/:name/events") { request, context in
            let call = NodeStreamCall.trainingEvents(try context.name("name"))
            return request.wantsEvents ? try await told(call, request) : try await streamed(call, request)
        }
        group.get("accounts/:name/earnings") { request, context in
            Response.json(try await service.perform(.accountEarnings(context.name("name"), request.page())))
        }
        group.get("accounts/:name/history") { request, context in
            Response.json(try await service.perform(.accountHistory(context.name("name"), request.page())))
        }
        group.get("batches/:height") { _, context in
            guard let height = UInt64(try context.name("height")) else {
                throw NodeFault(.invalid, "a batch's height is a whole number", param: "height", code: "invalid_type")
            }
            return Response.json(try await service.perform(.batch(height: height)))
        }
        addFiles(to: group)
        group.get("events") { request, _ in try await events(request) }
    }

    private func addFiles(to group: RouterGroup<GatewayContext>) {
        group.get("receipts/:name/bundle") { request, context in
            let name = try context.name("name")
            if try request.queryText("format", bytesMax: 16) == "json" {
                return Response.json(try await service.perform(.receiptRendering(name)))
            }
            var response = Response.bytes(try await service.receiptBundle(name), type: "application/vnd.ipld.dag-cbor")
            let safe = name.filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
            response.headers[.contentDisposition] = "attachment; filename=\"receipt-\(safe.prefix(16)).olr\""
            return response
        }
        group.post("receipts/verify") { request, _ in
            var request = request
            return Response.json(try await service.perform(.verifyBundle(request.bundle(limits))))
        }
        group.post("light/verify") { request, _ in
            var request = request
            return Response.json(try await service.perform(.lightVerify(receipt: request.json(limits).name("receipt"))))
        }
        group.get("datanets/:name/export") { request, context in
            try await streamed(.exportDatanet(context.name("name")), request)
        }
        group.post("datanets/:name/validate") { request, context in
            var request = request
            let name = try context.name("name")
            return Response.json(try await service.perform(.validateRows(datanet: name, request.rows(limits))))
        }
    }

    // MARK: Changes

    func addChanges(to group: RouterGroup<GatewayContext>) {
        addDatanetChanges(to: group)
        addModelChanges(to: group)
        addTrainingChanges(to: group)
        addMoneyChanges(to: group)
        group.post("peers") { request, _ in
            var request = request
            return Response.json(
                try await service.perform(.connect(address: request.json(limits).name("address", bytesMax: 512))))
        }
        group.delete("peers/:name") { _, context in
            Response.json(try await service.perform(.disconnect(peer: context.name("name"))))
        }
        group.post("light/sync") { request, _ in
            var request = request
            let fields = try await request.json(limits, isOptional: true)
            return Response.json(
                try await service.perform(.lightSync(checkpoint: fields.text("checkpoint", bytesMax: 128))))
        }
        group.post("receipts/:name/audit") { request, context in
            var request = request
            let fields = try await request.json(limits, isOptional: true)
            let call = NodeCall.audit(
                receipt: try context.name("name"), peer: try fields.text("peer", bytesMax: 128),
                here: try fields.flag("here") ?? false, publish: try fields.flag("publish") ?? false,
                attribution: try fields.flag("attribution") ?? false)
            return Response.json(try await service.perform(call))
        }
        group.post("shutdown") { _, _ in Response.json(try await service.perform(.shutdown), status: .accepted) }
    }

    private func addDatanetChanges(to group: RouterGroup<GatewayContext>) {
        group.post("datanets") { request, _ in
            var request = request
            let description = try await DatanetDescription(request.json(limits))
            return Response.json(try await service.perform(.createDatanet(description)), status: .created)
        }
        group.post("datanets/:name/rows") { request, context in
            var request = request
            let call = NodeCall.addRows(datanet: try context.name("name"), try await request.rows(limits))
            return Response.json(try await service.perform(call), status: .created)
        }
        group.post("datanets/:name/contributions/:contribution/approve") { _, context in
            let call = NodeCall.approveContribution(
                datanet: try context.name("name"), contribution: try context.name("contribution"))
            return Response.json(try await service.perform(call))
        }
        group.post("datanets/:name/contributions/:contribution/reject") { request, context in
            var request = request
            let reason = try await request.json(limits).name("reason", bytesMax: 1_024)
            let call = NodeCall.rejectContribution(
                datanet: try context.name("name"), contribution: try context.name("contribution"), reason: reason)
            return Response.json(try await service.perform(call))
        }
        addPull("datanets", to: group) { .pullDatanet($0, peer: $1) }
    }

    private func addModelChanges(to group: RouterGroup<GatewayContext>) {
        group.post("models") { request, _ in
            var request = request
            let fields = try await request.json(limits)
            let call = NodeStreamCall.importModel(
                path: try fields.path("path"), name: try fields.name("name"),
                precision: try fields.text("precision", bytesMax: 16))
            return try await streamed(call, request)
        }
        group.post("adapters") { request, _ in
            var request = request
            let fields = try await request.json(limits)
            let call = NodeStreamCall.importAdapter(
                path: try fields.path("path"), name: try fields.name("name"), model: try fields.name("model"))
            return try await streamed(call, request)
        }
        addPull("models", to: group) { .pullModel($0, peer: $1) }
        addPull("adapters", to: group) { .pullAdapter($0, peer: $1) }
        group.delete("models/:name") { _, context in
            Response.json(try await service.perform(.removeModel(context.name("name"))))
        }
        group.post("models/:name/precision") { request, context in
            var request = request
            let precision = try await request.json(limits).text("precision", bytesMax: 16)
            let call = NodeCall.setPrecision(model: try context.name("name"), precision)
            return Response.json(try await service.perform(call))
        }
        for action in AdapterAction.allCases {
            group.post(RouterPath("adapters/:name/\(action.rawValue)")) { _, context in
                Response.json(try await service.perform(.changeAdapter(context.name("name"), action)))
            }
        }
        group.post("adapters/:name/publish") { _, context in
            Response.json(try await service.perform(.publishAdapter(context.name("name"))))
        }
        group.post("fusions") { request, _ in
            var request = request
            let wanted = try await FusionDescription(request.json(limits), limits: limits)
            return Response.json(try await service.perform(.createFusion(wanted)), status: .created)
        }
        group.delete("fusions/:name") { _, context in
            Response.json(try await service.perform(.removeFusion(context.name("name"))))
        }
        group.post("models/:name/merge") { request, context in
            var request = request
            let fields = try await request.json(limits)
            let wanted = try FusionDescription(fields, model: context.name("name"), limits: limits)
            return try await streamed(.mergeModel(wanted), request)
        }
        group.delete("adapters/:name") { _, context in
            Response.json(try await service.perform(.removeAdapter(context.name("name"))))
        }
    }

    private func addTrainingChanges(to group: RouterGroup<GatewayContext>) {
        group.post("trainings") { request, _ in
            var request = request
            let fields = try await request.json(limits)
            let wanted = try TrainingDescription(fields)
            guard try fields.flag("follow") ?? true else {
                return Response.json(try await service.perform(.startTraining(wanted)), status: .accepted)
            }
            return try await streamed(.train(wanted), request)
        }
        group.post("trainings/estimate") { request, _ in
            var request = request
            let wanted = try await TrainingDescription(request.json(limits))
            return Response.json(try await service.perform(.estimateTraining(wanted)))
        }
        for action in TrainingAction.allCases {
            group.post(RouterPath("trainings/:name/\(action.rawValue)")) { _, context in
                Response.json(try await service.perform(.changeTraining(context.name("name"), action)))
            }
        }
        group.post("adapters/:name/eval") { request, context in
            var request = request
            let fields = try await request.json(limits)
            let wanted = try EvaluationDescription(fields, adapter: context.name("name"))
            return try await streamed(.evaluateAdapter(wanted), request)
        }
        group.post("adapters/:name/verify") { request, context in
            var request = request
            let fields = try await request.json(limits)
            let wanted = try VerificationDescription(fields, adapter: context.name("name"))
            return try await streamed(.verifyAdapter(wanted), request)
        }
    }

    private func addPull(
        _ noun: String, to group: RouterGroup<GatewayContext>,
        call: @escaping @Sendable (String, String?) -> NodeStreamCall
    ) {
        group.post("\(noun)/:name/pull") { request, context in
            var request = request
            let peer = try await request.json(limits, isOptional: true).text("peer", bytesMax: 128)
            return try await streamed(call(context.name("name"), peer), request)
        }
    }

    private func addMoneyChanges(to group: RouterGroup<GatewayContext>) {
        let verbs: [(String, @Sendable (RequestFields, Bool) throws -> NodeCall)] = [
            ("transfer", { .transfer(to: try $0.name("to"), try $0.positiveAmount("amount"), wait: $1) }),
            ("stake", { .stake(try $0.positiveAmount("amount"), wait: $1) }),
            ("unstake", { .unstake(try $0.positiveAmount("amount"), wait: $1) }), ("claim", { .claim(wait: $1) }),
        ]
        for (verb, call) in verbs {
            group.post("accounts/:name/\(verb)") { request, context in
                var request = request
                guard try context.name("name") == "me" else {
                    throw NodeFault(
                        .forbidden, "a peer signs for its own account only; use accounts/me", code: "not_own_account")
                }
                let fields = try await request.json(limits, isOptional: verb == "claim")
                let waits = try fields.flag("wait") ?? false
                let answer = try await service.perform(call(fields, waits))
                return Response.json(answer, status: waits ? .ok : .accepted)
            }
        }
        group.post("faucet") { request, _ in
            var request = request
            let fields = try await request.json(limits, isOptional: true)
            let account = try fields.text("account", bytesMax: 128)
            return Response.json(try await service.perform(.faucet(account: account)), status: .accepted)
        }
    }

    // MARK: Streams
}

extension RequestFields {
    /// An absolute path on the peer's machine: a relative one would mean the daemon's folder, not the caller's.
    fileprivate func path(_ key: String) throws(NodeFault) -> String {
        let path = try name(key, bytesMax: 4_096)
        guard path.hasPrefix("/"), !path.utf8.contains(0) else { throw fault(key, "must be an absolute path") }
        return path
    }
}

extension FusionDescription {
    /// - Parameter model: the base, where the path names it and the body does not.
    fileprivate init(_ fields: RequestFields, model: String? = nil, limits: GatewayLimits) throws(NodeFault) {
        let base = if let model { model } else { try fields.name("model") }
        let merge = try fields.required("merged_adapters", try AdapterMerge(fields, limits: limits))
        self.init(name: try fields.name("name", bytesMax: 64), model: base, merge: merge)
    }
}

extension DatanetDescription {
    fileprivate init(_ fields: RequestFields) throws(NodeFault) {
        var tags: [String] = []
        for (index, item) in (try fields.list("tags", countMax: 16) ?? []).enumerated() {
            guard let tag = item.text, (1...64).contains(tag.utf8.count) else {
                throw fields.fault("tags[\(index)]", "must be a text of 1 to 64 bytes", code: "invalid_type")
            }
            tags.append(tag)
        }
        let access = try fields.text("access", bytesMax: 16) ?? DatanetAccess.open.rawValue
        guard let access = DatanetAccess(rawValue: access) else {
            throw fields.fault("access", "must be open, approval or private", code: "unsupported_value")
        }
        self.init(
            name: try fields.name("name", bytesMax: 64), summary: try fields.text("summary", bytesMax: 2_048) ?? "",
            tags: tags, license: try fields.name("license", bytesMax: 128), access: access)
    }
}
