"""The cluster that the flags describe."""

from typing import Optional

from absl.flags import FlagValues

from l2o.commandline.flags import FlagError
from l2o.runs import cluster as clusters


def cluster(values: FlagValues) -> Optional[clusters.Cluster]:
    """The `Cluster` that this process is part of; None: it trains alone."""
    hosts = {job: _addresses(values, job + '_hosts') for job in ('ps', 'worker')}
    found = clusters.Cluster(hosts['ps'], hosts['worker'], values.job_name, values.task,
                             values.cluster_timeout)
    if not any(hosts.values()):
        _check_alone(values)
        return None
    for job, count, default in (('ps', values.ps_tasks, 0), ('worker', values.worker_tasks, 1)):
        if not hosts[job]:
            raise FlagError('--%s_hosts: a cluster needs at least one' % job)
        if count not in (default, len(hosts[job])):
            raise FlagError('--%s_tasks=%d, but --%s_hosts names %d'
                            % (job, count, job, len(hosts[job])))
    if values.task >= len(hosts[values.job_name]):
        raise FlagError('--task=%d, but --%s_hosts names %d: count from 0'
                        % (values.task, values.job_name, len(hosts[values.job_name])))
    return found


def _addresses(values, name):
    """The list of `host:port` in a flag."""
    addresses = [word.strip() for word in getattr(values, name).split(',') if word.strip()]
    for address in addresses:
        host, _, port = address.rpartition(':')
        if not host or not port.isdigit() or not 0 < int(port) < 2 ** 16:
            raise FlagError('--%s: %r is not host:port' % (name, address))
    return addresses


def _check_alone(values):
    """Flags of a cluster mean nothing without its hosts."""
    for flag, without in (('ps_tasks', 0), ('worker_tasks', 1), ('task', 0),
                          ('job_name', 'worker')):
        if getattr(values, flag) != without:
            raise FlagError('--%s=%s needs --ps_hosts and --worker_hosts, which name host:port of '
                            'every process' % (flag, getattr(values, flag)))
