// What audits found, by swift-metrics.

import Ledger
import Metrics
import NodeCore

enum AuditMetrics {
    static func tell(_ notice: NodeNotice) {
        switch notice {
        case .audited(let signed, _):
            let outcome =
                switch signed.verdict.outcome {
                case .same: "same"
                case .differs: "differs"
                case .unable: "unable"
                }
            Counter(label: "openledger_audits", dimensions: [("outcome", outcome)]).increment()
        case .reweighed(let signed, _):
            let outcome =
                switch signed.verdict.outcome {
                case .same: "same"
                case .differs: "differs"
                case .unable: "unable"
                }
            Counter(label: "openledger_share_audits", dimensions: [("outcome", outcome)]).increment()
        case .distrusted: Counter(label: "openledger_audit_distrusted").increment()
        case .evidence: Counter(label: "openledger_audit_evidence").increment()
        default: break
        }
    }
}
