//! What only one replica does, the one that holds the Lease. The data path and KEDA's calls never need it.

pub mod autowire;
pub mod conditions;
pub mod context;
pub mod conversion;
pub mod feed;
pub mod http_scaled_object;
pub(crate) mod refusal;
pub mod running;

use crate::config::ControllersConfig;
use context::InterceptorView;
use running::Controller;

/// The controllers that run while this replica leads. Autowire needs interceptors that are discovered, not listed.
pub fn all(config: &ControllersConfig, interceptors: Option<&InterceptorView>) -> Vec<Controller> {
    let domain = config.cluster_domain.clone();
    let mut controllers = vec![
        Controller::new("conversion", conversion::run),
        Controller::new("httpscaledobjects", http_scaled_object::run),
        Controller::new("conditions", move |context, updates| {
            conditions::run(context, domain.clone(), updates)
        }),
    ];
    if let (Some(config), Some(interceptors)) = (config.autowire.clone(), interceptors.cloned()) {
        let run = move |context, updates| autowire::run(context, config.clone(), interceptors.clone(), updates);
        controllers.push(Controller::new("autowire", run));
    }
    controllers
}
